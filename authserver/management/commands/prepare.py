"""`manage.py prepare`: all preparations before the processes start, in one process, because each
start of Django costs time.
"""

from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connection

from authserver.checks import problems
from authserver.database_state import find_database_problem


class Command(BaseCommand):
    help = (
        "Checks the settings, migrates the database and creates missing keys. Without DATABASE_OWNER_URL it only "
        "checks that the database is migrated. In the demo, also seeds the demo data."
    )
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        if found := problems():
            raise CommandError("\n".join(found))
        is_production = not (settings.DEMO or settings.TESTING)
        if "owner" in settings.DATABASES or not is_production:
            # Without stdout=self.stdout, which would end each part of its line of progress.
            call_command("migrate", verbosity=0, brief=True)
        # Also after the migration: the two URLs may name different databases.
        if is_production and (problem := find_database_problem(connection)):
            raise CommandError(problem)
        call_command("rotate_keys", if_missing=True, stdout=self.stdout)
        call_command("rotate_push_key", if_missing=True, stdout=self.stdout)
        if settings.DEMO:
            call_command("seed_demo", stdout=self.stdout)
