"""`manage.py sweeper`: does due work until it is stopped. Several may run at once."""

import signal
import threading
from collections.abc import Mapping
from typing import Any

import structlog
from django.core.management.base import BaseCommand, CommandParser
from django.db import DatabaseError, InterfaceError, close_old_connections, connection
from django.utils import timezone

from authserver.checks import refuse
from authserver.sweeps import CLEANING, CLEANING_PAUSE_S, OUTWARD, SWEEP_BATCH, SWEEPS, Sweep

log = structlog.get_logger(__name__)


class Command(BaseCommand):
    help = "Expires and revokes everything that is due, every second, and deletes old rows."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="one round, then exit")
        parser.add_argument("--pause", type=float, default=1.0, help="seconds between rounds")

    def handle(self, *args: Any, **options: Any) -> None:
        refuse()
        stop = threading.Event()
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, lambda *_: stop.set())
        if options["once"]:
            sweep_round(SWEEPS | CLEANING | OUTWARD)
            return
        tables = [({name: sweep}, options["pause"]) for name, sweep in OUTWARD.items()]
        tables.append((CLEANING, CLEANING_PAUSE_S))
        threads = [threading.Thread(target=sweep_until, args=(stop, *table)) for table in tables]
        for thread in threads:
            thread.start()
        sweep_until(stop, SWEEPS, options["pause"])
        for thread in threads:
            thread.join()


def sweep_until(stop: threading.Event, sweeps: Mapping[str, Sweep], pause: float) -> None:
    while not stop.is_set():
        more = sweep_round(sweeps)
        connection.close()  # back to the pool: the threads seldom need one at the same time
        stop.wait(0 if more else pause)


def sweep_round(sweeps: Mapping[str, Sweep]) -> bool:
    """Runs each sweep once.

    A sweep that fails is logged and does not stop the others.

    Returns whether one of them may have left due work.
    """
    more = False
    for name, sweep in sweeps.items():
        try:
            more |= sweep(timezone.now(), SWEEP_BATCH) >= SWEEP_BATCH
        except (DatabaseError, InterfaceError) as error:
            # The next round tries again. Nothing is lost, because due work is in PostgreSQL.
            log.error("sweep failed", sweep=name, error=str(error))
            close_old_connections()
        except Exception:
            # If the thread ended here, its work would stay undone forever while the process looks
            # healthy.
            log.exception("sweep failed", sweep=name)
    return more
