"""`manage.py rotate_keys`: new signing keys, without an interruption for clients."""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from foundation.sealed_columns import reseal, sealed_columns
from oauth.tokens import signing_keys


class Command(BaseCommand):
    help = (
        "Creates a new signing key for each algorithm (ES256, RS256, PS256). The JWKS lists it at once. It signs after "
        "SIGNING_KEY_LEAD seconds. The old key stays in the JWKS until every token that it signed has expired."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--if-missing", action="store_true", help="only for algorithms that have no signing key")
        parser.add_argument(
            "--now", action="store_true", help="sign with the new keys at once (resource servers may not know them yet)"
        )
        parser.add_argument("--withdraw", metavar="KID", help="remove this leaked key from the JWKS at once")
        parser.add_argument(
            "--reseal",
            action="store_true",
            help="encrypt all sealed values again, with the newest key-encryption key",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        now = timezone.now()
        if options["reseal"]:
            for model in sealed_columns():
                self.stdout.write(f"{reseal(model)} {model._meta.verbose_name_plural} sealed again")
            return
        if kid := options["withdraw"]:
            if not signing_keys.withdraw(kid, now):
                raise CommandError(f"no listed signing key has the kid {kid}")
            self.stdout.write(f"{kid} is withdrawn: its signatures are no longer valid")
        missing = signing_keys.find_missing_algorithms(now)
        for algorithm in signing_keys.ALGORITHMS:
            if (options["if_missing"] or options["withdraw"]) and algorithm not in missing:
                continue
            at_once = options["now"] or algorithm in missing
            lead = timedelta(0) if at_once else timedelta(seconds=settings.SIGNING_KEY_LEAD)
            kid = signing_keys.make_key(algorithm, now, active_at=now + lead)
            when = "signs now" if at_once else f"is listed now and signs from {now + lead:%Y-%m-%d %H:%M} UTC"
            self.stdout.write(f"{algorithm} key {kid} {when}")
