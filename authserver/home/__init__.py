"""The first page of the administration: what needs someone, what happened today, first steps, and all lists.

Every part shows only what this member of staff may see. Every count is bounded, because the tables grow
without limit.

page.py            gathers the parts (templates/admin/index.html shows them)
figures.py         counts that stop at a thousand
attention.py       what needs someone now: one table of checks
today.py           events by hour, and their charts
first_steps.py     what a new installation needs, until it has it
"""
