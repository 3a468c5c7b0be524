"""`manage.py migrate`: migrates as the owner, then grants the application's role the rights that it
needs and no more.
"""

from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.core.management.commands.migrate import Command as DjangoMigrate
from django.db import connections
from psycopg import sql

_GRANTS = """
GRANT USAGE ON SCHEMA public TO {app};
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {app};
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {app};
REVOKE INSERT, UPDATE, DELETE ON django_migrations FROM {app};
"""
_APPEND_ONLY = "REVOKE UPDATE, DELETE, TRUNCATE ON {table} FROM {app};"


class Command(DjangoMigrate):
    help = "Migrates the database as its owner (DATABASE_OWNER_URL) and sets the application role's rights."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--brief", action="store_true", help="show only the names of the apps, as they are migrated"
        )
        parser.set_defaults(database="owner" if "owner" in settings.DATABASES else "default")

    def handle(self, *args: Any, **options: Any) -> None:
        self.migrated_apps: list[str] | None = [] if options["brief"] else None
        if not (settings.DEMO or settings.TESTING):
            check_roles()
        super().handle(*args, **options)
        only_looks = options["plan"] or options["check_unapplied"]
        if options["database"] == "owner" and not only_looks:
            grant_rights(settings.DATABASES["default"]["USER"])
        if self.migrated_apps:
            self.stdout.write("")

    def migration_progress_callback(self, action: str, migration: Any = None, fake: bool = False) -> None:
        """Django calls it at each step. A new database takes some seconds, in which the terminal shows progress."""
        super().migration_progress_callback(action, migration, fake)
        if self.migrated_apps is None or action != "apply_start" or migration.app_label in self.migrated_apps:
            return
        first = not self.migrated_apps
        self.migrated_apps.append(migration.app_label)
        self.stdout.write(f"  tables of {migration.app_label}" if first else f", {migration.app_label}", ending="")
        self.stdout.flush()


def check_roles() -> None:
    """Raises CommandError if the application's role would own the audit tables, which it may only
    append to.
    """
    if "owner" not in settings.DATABASES:
        raise CommandError("DATABASE_OWNER_URL must be set: migrations run as the owner of the database.")
    if settings.DATABASES["owner"]["USER"] == settings.DATABASES["default"]["USER"]:
        raise CommandError(
            "DATABASE_OWNER_URL must not be the application's role: that role could change the audit log."
        )


def append_only_tables() -> list[str]:
    """The audit tables that the application may only append to."""
    return [model._meta.db_table for model in apps.get_models() if getattr(model, "append_only", False)]


def grant_rights(role: str) -> None:
    """Grants the role its rights. Idempotent."""
    statement = sql.SQL(_GRANTS).format(app=sql.Identifier(role))
    existing = connections["owner"].introspection.table_names()
    for table in append_only_tables():
        if table not in existing:  # `migrate audit zero`
            continue
        statement += sql.SQL(_APPEND_ONLY).format(table=sql.Identifier(table), app=sql.Identifier(role))
    with connections["owner"].cursor() as cursor:
        cursor.execute(statement.as_string())
