"""The triggers that guard the audit tables, as migration 0002 creates them, and a check that a database has them."""

from importlib import import_module

from django.db.backends.base.base import BaseDatabaseWrapper

# Each trigger with the bits of its pg_trigger.tgtype: ROW 1, BEFORE 2, INSERT 4, DELETE 8, UPDATE 16, TRUNCATE 32.
TRIGGERS = {
    "audit_event_no_change": ("audit_refuse_change", 1 | 2 | 8 | 16),
    "audit_event_no_truncate": ("audit_refuse_change", 2 | 32),
    "audit_event_stamp": ("audit_stamp", 1 | 2 | 4),
}
# Enabled ("O") or always enabled ("A"). A trigger with a condition or with columns would guard only a part.
_FOUND = """
SELECT t.tgname, p.proname, t.tgtype, p.prosrc FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
WHERE t.tgrelid = to_regclass('audit_event') AND t.tgenabled IN ('O', 'A') AND t.tgqual IS NULL AND t.tgattr = ''
"""


def find_trigger_problems(connection: BaseDatabaseWrapper) -> list[str]:
    """One sentence for each trigger that is missing, switched off, or not as the migration creates it."""
    with connection.cursor() as cursor:
        cursor.execute(_FOUND)
        found = {name: (function, kind, source) for name, function, kind, source in cursor.fetchall()}
    return [
        f"The trigger {name} of audit_event is missing, switched off or changed."
        for name, expected in TRIGGERS.items()
        if name not in found or not _is_ours(*found[name], *expected)
    ]


def _is_ours(function: str, kind: int, source: str, expected_function: str, expected_kind: int) -> bool:
    created: str = import_module("audit.migrations.0002_append_only").FORWARD
    return (
        (function, kind) == (expected_function, expected_kind)
        and f"FUNCTION {function}() RETURNS trigger" in created
        and f"$${source}$$" in created
    )
