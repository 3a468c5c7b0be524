"""`manage.py rotate_push_key`: a new key by which push services identify this server."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from devices import vapid


class Command(BaseCommand):
    help = (
        "Creates a new VAPID key. Browsers that subscribed with the old key still receive messages. They subscribe "
        "with the new key when their user next opens a page."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--if-missing", action="store_true", help="only if there is no push key")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["if_missing"] and vapid.current_key():
            return
        self.stdout.write(f"push key {vapid.make_key(timezone.now())} created")
