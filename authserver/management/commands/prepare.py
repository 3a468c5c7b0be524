"""`manage.py prepare`: all preparations before the processes start, in one process, because each
start of Django costs time.
"""

from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from authserver.checks import problems


class Command(BaseCommand):
    help = "Checks the settings, migrates the database and creates missing keys. In the demo, also seeds the demo data."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        if found := problems():
            raise CommandError("\n".join(found))
        # Without stdout=self.stdout, which would end each part of its line of progress.
        call_command("migrate", verbosity=0, brief=True)
        call_command("rotate_keys", if_missing=True, stdout=self.stdout)
        call_command("rotate_push_key", if_missing=True, stdout=self.stdout)
        if settings.DEMO:
            call_command("seed_demo", stdout=self.stdout)
