"""`manage.py apply_config FILE`: shows how a configuration file differs, and applies it (docs/config.md).

Exit codes: 0 no difference, or applied. 1 there is a difference (--check), or nothing was applied.
2 the file or the command line is wrong. 3 the database failed: whether the file was applied is unknown. 4 applied,
but a preflight failed or did not finish.
"""

import re
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import InterfaceError, OperationalError
from django.utils import timezone

from audit.record import About
from authserver.configuration import lifecycle
from authserver.configuration.difference_text import render_change
from authserver.configuration.document import Document, read_document
from authserver.configuration.lifecycle import Plan
from authserver.configuration.preflights import run_preflights
from authserver.configuration.problems import Problem, WrongFile, printable
from authserver.configuration.secret_references import UnresolvedSecret, resolve
from authserver.configuration.section import SECRET, Confirmations
from authserver.configuration.yaml_format import MAX_BYTES

DIFFERENT, WRONG, FAILED, NOT_READY = 1, 2, 3, 4


class Command(BaseCommand):
    help = (
        "Shows how a configuration file differs from the database, and applies it in one transaction. Without a "
        "terminal, it applies only with --yes."
    )
    requires_system_checks = ()
    is_applied = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, help="a file as export_config writes it")
        parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if there is a difference")
        parser.add_argument("--yes", action="store_true", help="apply without asking")
        parser.add_argument(
            "--prune", action="store_true",
            help="also deactivate what the file leaves out, in the lists that the file has",
        )  # fmt: skip
        parser.add_argument(
            "--same-system", action="append", default=[], metavar="BACKEND",
            help="confirm that the new settings of this backend, which has live leases, lead to the same system",
        )  # fmt: skip
        parser.add_argument(
            "--replace-secret", action="append", default=[], metavar="BACKEND",
            help="replace the stored secret of this backend by the one that the file names",
        )  # fmt: skip

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self.run(options["file"], options)
        except WrongFile as error:
            raise CommandError(
                f"{options['file']} is wrong. Nothing was changed.\n{error}", returncode=WRONG
            ) from error
        except lifecycle.ChangedMeanwhile as error:
            text = (
                "Somebody changed the configuration meanwhile. Nothing was changed. Start again to see the difference."
            )
            raise CommandError(text, returncode=DIFFERENT) from error
        except (OperationalError, InterfaceError) as error:
            if self.is_applied:
                text, code = "The file was applied, but the preflights did not finish.", NOT_READY
            else:
                text, code = "The database failed. Run --check to see whether the file was applied.", FAILED
            raise CommandError(f"{text} {error}", returncode=code) from error

    def run(self, path: Path, options: dict[str, Any]) -> None:
        document = read_document(read_file(path))
        prune = options["prune"]
        secrets = resolve_secrets(document, options["replace_secret"])
        confirmed = Confirmations(frozenset(options["same_system"]), secrets)
        plan = lifecycle.find_plan(document, confirmed, prune=prune)
        self.show(plan)
        if options["check"] and plan.writes:
            raise CommandError("The configuration differs from the file.", returncode=DIFFERENT)
        if options["check"]:
            return
        about = About(actor_of(path))
        if plan.writes:
            self.confirm(options["yes"])
            lifecycle.apply(document, plan, confirmed, about, timezone.now(), prune=prune)
            self.is_applied = True
            self.stdout.write(f"{len(plan.writes)} objects changed.")
        self.test(document, plan, about)

    def show(self, plan: Plan) -> None:
        for change in plan.changes:
            self.stdout.write("\n".join(render_change(change)))
        if not plan.writes:
            self.stdout.write("No difference.")

    def confirm(self, is_confirmed: bool) -> None:
        if is_confirmed:
            return
        if not sys.stdin.isatty():
            raise CommandError("Nothing was changed. Without a terminal, pass --yes to apply.", returncode=DIFFERENT)
        self.stdout.write("Apply? [y/N] ", ending="")
        self.stdout.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise CommandError("Nothing was changed.", returncode=DIFFERENT)

    def test(self, document: Document, plan: Plan, about: About) -> None:
        """Runs the preflights, now that the changes are committed."""
        failed = False
        for name, problem in run_preflights(document, plan, about, timezone.now()):
            self.stdout.write(f"{name}: preflight {f'failed: {printable(problem)}' if problem else 'passed'}")
            failed |= bool(problem)
        if failed:
            raise CommandError("The file was applied, but a preflight failed.", returncode=NOT_READY)


def read_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}", returncode=WRONG) from error


def actor_of(path: Path) -> str:
    """Without characters that a page or a log would act on. An event's actor has at most 300 characters."""
    return f"config:{re.sub(r'[^A-Za-z0-9._-]', '_', path.name)[:200]}"


def resolve_secrets(document: Document, replaced: list[str]) -> dict[str, str]:
    """The secrets of new backends, and of those whose secret is to be replaced. Raises WrongFile."""
    backends = document.objects.get("backends", {})
    if unknown := [name for name in replaced if not (backends.get(name) or {}).get(SECRET)]:
        raise CommandError(f"--replace-secret {unknown[0]}: the file names no secret of this backend", returncode=WRONG)
    secrets: dict[str, str] = {}
    problems: list[Problem] = []
    for name in sorted(lifecycle.find_new_keys(document, "backends") | set(replaced)):
        if reference := backends[name][SECRET]:
            try:
                secrets[name] = resolve(reference)
            except UnresolvedSecret as error:
                problems.append(document.problem("backends", name, (SECRET,), str(error)))
    if problems:
        raise WrongFile(problems)
    return secrets
