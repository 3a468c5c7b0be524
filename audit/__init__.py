"""The audit log: append-only events.

Owns: the kinds of events, the table of events, and how they are written and read. Does not own:
what an event means. The code that changes a state records the event, in the same transaction.

events.py   every kind of event, declared once
record.py   writing an event in the caller's transaction
triggers.py the triggers that guard the table, and whether a database has them
models.py   the append-only table, and the table of set-aside events
admin.py    reading the log in the administration
exports.py  CSV and JSON exports of the administration's large lists
pages.py    /activity: a user's own events

The tables have no foreign keys, and no row is ever updated. The application's database role may
only INSERT and SELECT. Triggers refuse every other change to everybody, and write the database's own
time, transaction and role into each event (migration 0002, docs/adr/0017).
"""
