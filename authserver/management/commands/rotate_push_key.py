"""`manage.py rotate_push_key`: a new key by which push services identify this server."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from devices import vapid


class Command(BaseCommand):
    help = (
        "Makes a new VAPID key. Browsers that subscribed under the old one are reached as before, and subscribe "
        "again under the new one when their person next opens a page."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--if-missing", action="store_true", help="only where there is none")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["if_missing"] and vapid.current_key():
            return
        self.stdout.write(f"push key {vapid.make_key(timezone.now())} made")
