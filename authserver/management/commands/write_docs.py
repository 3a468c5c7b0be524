"""`manage.py write_docs`: writes the documents that come from the code (authserver/generated_docs)."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from authserver.generated_docs import find_outdated_pages, write_pages


class Command(BaseCommand):
    help = "Writes the documents that come from the code, such as docs/errors.md and docs/settings.md."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is not current")

    def handle(self, *args: Any, **options: Any) -> None:
        if not options["check"]:
            write_pages(settings.BASE_DIR)
        elif outdated := find_outdated_pages(settings.BASE_DIR):
            raise CommandError(f"Not current: {', '.join(outdated)}. Run `make docs`.")
