"""`manage.py export_config`: writes the configuration as YAML to standard output (docs/config.md)."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from authserver.configuration import json_schema
from authserver.configuration.export import render_export


class Command(BaseCommand):
    help = (
        "Writes resources, scopes, operation types, groups, backends, credential roles, hint issuers, and the agents "
        "that an administrator registered, as YAML. Secrets are never written."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--schema", action="store_true", help="write the JSON Schema of the file instead")

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(json_schema.render() if options["schema"] else render_export(), ending="")
