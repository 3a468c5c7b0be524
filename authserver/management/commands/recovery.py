"""`manage.py recovery`: pauses revocation after the database was restored from a backup.

Start it before the sweeper.
"""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from audit.record import SYSTEM
from credentials.backends import drift_report, recovery


class Command(BaseCommand):
    help = (
        "start: pause issuing and revocation. report: compare the accounts on the backends with the leases in the "
        "database. end: revoke everything that is due, also accounts without a lease."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("act", choices=["start", "report", "end"])

    def handle(self, *args: Any, **options: Any) -> None:
        now = timezone.now()
        match options["act"]:
            case "start":
                started = recovery.start(SYSTEM, now)
                self.stdout.write("Revocation is paused." if started else "Revocation was already paused.")
            case "end":
                ended = recovery.end(SYSTEM, now)
                self.stdout.write("Revocation continues." if ended else "Revocation was not paused.")
            case _:
                self.report()

    def report(self) -> None:
        for one in drift_report.find_differences(timezone.now()):
            self.stdout.write(f"{one.backend}: {one.problem or 'answers'}")
            self.stdout.write(f"  {one.overdue} leases would be revoked")
            self.stdout.write(f"  {len(one.orphans)} accounts without a lease would be revoked")
            self.stdout.writelines(f"    {name}" for name in one.orphans)
            self.stdout.write(f"  {len(one.gone)} leases are active, but their account is gone")
            self.stdout.writelines(f"    {name}" for name in one.gone)
