"""`manage.py backup_check`: whether a backup would bring this version back.

It reads a database into which the backup was restored, and the backup of the key file. It writes
nothing and needs no setting of the server.
"""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections

from audit.models import Event
from audit.triggers import find_trigger_problems
from authserver import variables
from authserver.database_state import compare_migrations
from authserver.keyfiles import read_key_encryption_keys
from foundation.sealed_columns import find_unopenable, sealed_columns

BACKUP = "backup"  # the alias of the restored database


class Command(BaseCommand):
    help = (
        "Checks a restored backup: its migrations are those of this version, the audit triggers are in place, and the "
        "key file opens every sealed value. It only reads."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--database", required=True, metavar="URL",
            help="the restored database; leave the password out of the URL and set PGPASSWORD or PGPASSFILE",
        )  # fmt: skip
        parser.add_argument("--keys", required=True, metavar="FILE", help="the backup of KEY_ENCRYPTION_KEYS_FILE")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            keys = read_key_encryption_keys(options["keys"], None)
        except ValueError as error:
            raise CommandError(str(error).replace("KEY_ENCRYPTION_KEYS_FILE", "--keys", 1)) from error
        connect(options["database"])
        try:
            problems = [*find_migration_problems(), *find_trigger_problems(connections[BACKUP])]
            # The columns of another version are not those of this one's models.
            problems = problems or self.find_key_problems(keys)
        except DatabaseError as error:
            raise CommandError(f"The database cannot be read: {str(error).strip().splitlines()[0]}") from error
        if problems:
            raise CommandError("\n".join(problems))
        last = Event.objects.using(BACKUP).order_by("-id").values_list("recorded_at", flat=True).first()
        self.stdout.write("The migrations are those of this version. The audit triggers are in place.")
        self.stdout.write(f"The last audit event is of {last:%Y-%m-%d %H:%M:%S} UTC." if last else "No audit event.")

    def find_key_problems(self, keys: dict[str, bytes]) -> list[str]:
        opened, problems = 0, []
        for model in sealed_columns():
            more, refused = find_unopenable(model, keys, BACKUP)
            opened += more
            problems += [
                f"{column}: {count} values cannot be opened: {first}." for column, (count, first) in refused.items()
            ]
        if not opened and not problems:
            return ["The database has no sealed value, so the key file could not be checked: `prepare` creates keys."]
        if not problems:
            self.stdout.write(f"The key file opens all {opened} sealed values.")
        return problems


def connect(url: str) -> None:
    """Makes the database known to Django, for reading only. Raises CommandError."""
    config, problems = variables.DATABASE_URL.parse(url)
    if config is None:
        raise CommandError(f"--database {problems[0]}.")
    options = config.get("OPTIONS", {}) | {"options": "-c default_transaction_read_only=on"}
    configured = connections.configure_settings({DEFAULT_DB_ALIAS: config | {"OPTIONS": options}})
    connections.settings[BACKUP] = configured[DEFAULT_DB_ALIAS]


def find_migration_problems() -> list[str]:
    missing, unknown = compare_migrations(connections[BACKUP])
    found = [f"The backup lacks the migration {name}: it is of an older version." for name in missing[:1]]
    return found + [f"This version does not know the migration {name} of the backup." for name in unknown[:1]]
