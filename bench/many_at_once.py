"""Leases that expire at once: how long until the product's own sweeper has taken all of them back, with how much
memory, and how fast other requests are answered meanwhile.
"""

import statistics
import subprocess
import threading
import time
from datetime import timedelta
from pathlib import Path

from product import answers, backend_login, memory, say

MAX_GROWTH = 50  # MiB


def expire_at_once(count: int, grant_id: str, url: str, supervisor: subprocess.Popen[bytes]) -> None:
    """Fails where the sweeper's memory grows."""
    from django.utils import timezone

    from credentials.models import Lease

    _make_leases(count, grant_id)
    sweeper = _child(supervisor.pid, "sweeper")
    before, idle = _mebibytes(sweeper), _latencies(url, 20)
    max_length, busy, stop = [before], [], threading.Event()

    def watch() -> None:
        while not stop.is_set():
            max_length.append(_mebibytes(sweeper))
            busy.extend(_latencies(url, 1))
            stop.wait(0.2)

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.monotonic()
    Lease.objects.filter(state="active").update(expires_at=timezone.now())
    ended = 0.0
    while Lease.objects.exclude(state="revoked").exists():
        time.sleep(0.5)
        if not ended and not Lease.objects.filter(state="active").exists():
            ended = time.monotonic() - began
    took = time.monotonic() - began
    stop.set()
    watcher.join()
    say(
        f"\n{count} leases expired at once: all ended (nobody may renew or use them) after {ended:.1f} s, all gone "
        f"after {took:.1f} s ({count / took:.0f}/s)\n"
        f"  the sweeper's memory: {before:.0f} MiB before, {max(max_length):.0f} MiB at the most\n"
        f"  other requests (/readyz, which asks the database): median {statistics.median(idle) * 1000:.0f} ms idle, "
        f"{statistics.median(busy) * 1000:.0f} ms meanwhile, slowest {max(busy) * 1000:.0f} ms of {len(busy)}"
    )
    if max(max_length) - before > MAX_GROWTH:
        raise SystemExit(f"the sweeper's memory grew by {max(max_length) - before:.0f} MiB, and may by {MAX_GROWTH}")


def _make_leases(count: int, grant_id: str) -> None:
    from django.utils import timezone

    from credentials.models import Backend, Lease, Role
    from foundation.handles import new_id
    from oauth.models import Grant

    backend, role = Backend.objects.get(), Role.objects.get()
    grant = Grant.objects.select_related("agent").get(pk=grant_id)
    ids, now = [new_id() for _ in range(count)], timezone.now()
    ends = now + timedelta(hours=2)
    _make_accounts([f"{backend.prefix}{one.hex[:20]}" for one in ids])
    Lease.objects.bulk_create(
        [
            Lease(
                id=one, role=role, backend=backend, grant=grant, agent=grant.agent, user_id=grant.user_id,
                operation_digest="d" * 43, use_id=new_id(), account_name=f"{backend.prefix}{one.hex[:20]}",
                settings=role.settings, state="active", created_at=now, issued_at=now, lifetime=3600, expires_at=ends,
                max_expires_at=ends, bound_by="asked", max_bound_by="grant",
            )
            for one in ids
        ],
        batch_size=1000,
    )  # fmt: skip


def _make_accounts(names: list[str]) -> None:
    import psycopg
    from psycopg import sql

    with psycopg.connect(**backend_login()) as connection:
        for name in names:
            statement = sql.SQL("CREATE ROLE {} LOGIN IN ROLE demo_orders_reader")
            connection.execute(statement.format(sql.Identifier(name)))


def _child(parent: int, word: str) -> int:
    for process in Path("/proc").glob("[0-9]*"):
        try:
            status = (process / "stat").read_text().rsplit(")", 1)[1].split()
            if int(status[1]) == parent and word in (process / "cmdline").read_text().split("\0"):
                return int(process.name)
        except OSError:
            continue
    raise SystemExit(f"no process {word}")


def _mebibytes(pid: int) -> float:
    return memory(pid) / 1024


def _latencies(url: str, count: int) -> list[float]:
    found = []
    for _ in range(count):
        began = time.perf_counter()
        if not answers(f"{url}/readyz"):
            raise SystemExit("the product no longer answers")
        found.append(time.perf_counter() - began)
    return found
