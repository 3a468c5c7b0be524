"""What happened, for ever.

Owns: the kinds of event (events.py), writing one in the caller's transaction (record.py), the
append-only table (models.py), reading it in the admin (admin.py) and as a person (views.py).
Does not own: what an event means to its domain; whoever changes a state records the event.
The audit tables have no foreign keys and nothing to update: the application role may only INSERT and
SELECT, and triggers refuse the rest to everybody (migration 0002).
"""
