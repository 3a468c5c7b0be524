"""Whether a database fits this version: its migrations, and the rights of the role that reads them.

Running processes have the application's role only, so these checks need no other.
"""

from django.db import ProgrammingError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.loader import MigrationLoader

from authserver.management.commands.migrate import append_only_tables

_HOW = "run `manage.py migrate` with DATABASE_OWNER_URL"
# The owner of a table, its members and superusers could remove its triggers.
_RIGHTS = """
SELECT has_table_privilege(oid, 'INSERT'),
       has_table_privilege(oid, 'UPDATE, DELETE, TRUNCATE, TRIGGER') OR pg_has_role(relowner, 'MEMBER')
FROM pg_class WHERE oid = to_regclass(%s)
"""


def find_database_problem(connection: BaseDatabaseWrapper) -> str | None:
    """Why the application cannot run on this database with this connection's role: one sentence, or None."""
    try:
        missing, _ = compare_migrations(connection)
    except ProgrammingError:
        return f"DATABASE_URL: its role may not read which migrations the database has: {_HOW}."
    if missing:
        return f"The database lacks {len(missing)} migrations of this version, first {missing[0]}: {_HOW}."
    for table in append_only_tables():
        with connection.cursor() as cursor:
            cursor.execute(_RIGHTS, [table])
            may_append, may_change = cursor.fetchone() or (False, False)
        if may_change:
            return "DATABASE_URL must not name a role that could change the audit log: it must be the application's."
        if not may_append:
            return f"DATABASE_URL: its role may not write audit events: {_HOW}, which grants its rights."
    return None


def compare_migrations(connection: BaseDatabaseWrapper) -> tuple[list[str], list[str]]:
    """The migrations that the database lacks, and those that it has and this version does not know."""
    loader = MigrationLoader(connection)
    applied = set(loader.applied_migrations)
    return _names(set(loader.graph.nodes) - applied), _names(applied - set(loader.disk_migrations))


def _names(migrations: set[tuple[str, str]]) -> list[str]:
    return [f"{app}.{name}" for app, name in sorted(migrations)]
