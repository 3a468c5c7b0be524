"""`make bench-leases`: leases on the real product with its durable PostgreSQL, which is also what it lends from.

1. Issues and revokes per second with 1 and 4 worker processes, beside the same SQL alone: every statement that an issue
   and a revoke send, to our own database and to the backend, timed where it is sent. Twice: as waiting for the servers
   alone, and with the SCRAM verifiers (RFC 5803) that CREATE ROLE needs and whoever sends it has to compute.
2. After all of them: what is left in pg_class.relacl and pg_authid.
3. Leases that expire at once, taken back by the product's own sweeper: how long, how much memory, and how fast other
   requests are answered meanwhile.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from product import answers, product, say


class SqlClock:
    """Seconds that this process spends in statements, our own database's and the backend's; and in verifiers."""

    def __init__(self) -> None:
        import psycopg

        from credentials.engines import postgres

        self.seconds, self.count, self.verifiers = 0.0, 0, 0.0
        wait, verifier = psycopg.Connection.wait, postgres._verifier

        def timed(connection: Any, *arguments: Any, **more: Any) -> Any:
            began = time.perf_counter()
            try:
                return wait(connection, *arguments, **more)
            finally:
                self.seconds += time.perf_counter() - began
                self.count += 1

        def timed_verifier(password: str) -> str:
            began = time.perf_counter()
            made = verifier(password)
            self.verifiers += time.perf_counter() - began
            return made

        psycopg.Connection.wait = timed  # type: ignore[method-assign]
        postgres._verifier = timed_verifier


def in_workers(count: int, act: Callable[[int], dict[str, float]]) -> list[dict[str, float]]:
    """Each in a process of its own, started together; what each answered."""
    start_read, start_write = os.pipe()
    pipes = []
    for number in range(count):
        read, write = os.pipe()
        if os.fork() == 0:
            try:
                os.read(start_read, 1)
                os.write(write, json.dumps(act(number)).encode())
            except BaseException:  # noqa: BLE001 - whatever it was, this child goes no further
                traceback.print_exc()
            os._exit(0)
        os.close(write)
        pipes.append(read)
    time.sleep(0.5)
    os.write(start_write, b"x" * count)
    answers = []
    for read in pipes:
        with os.fdopen(read, "rb") as answered:
            answers.append(json.loads(answered.read()))
    for _ in pipes:
        os.wait()
    return answers


def make_grants(count: int) -> list[str]:
    from django.utils import timezone

    from accounts.models import User
    from clients.models import Agent
    from credentials.models import Role
    from foundation.handles import new_id
    from oauth.models import Grant

    role, now = Role.objects.select_related("operation_type__resource").get(), timezone.now()
    agent, user = Agent.objects.get(name="Assistant"), User.objects.get(email="demo@example.com")
    details = [{"type": role.operation_type.name, "purpose": "to measure"}]
    grants = [
        Grant(
            id=new_id(), agent=agent, user=user, resource=role.operation_type.resource, authorization_details=details,
            operation_digest="d" * 43, uses_left=1, created_at=now, expires_at=now + timedelta(hours=8),
        )
        for _ in range(count)
    ]  # fmt: skip
    Grant.objects.bulk_create(grants)
    return [str(grant.id) for grant in grants]


def work(grants: list[str]) -> dict[str, float]:
    """Issues and revokes, one after the other, as the API does for one agent."""
    from django.utils import timezone

    from credentials import lending, lifecycle, policy, taking_back
    from credentials.models import Role

    policy.MOST_A_MINUTE = 10**9
    role = Role.objects.select_related("backend", "operation_type__resource").get()
    clock, spent = SqlClock(), {}
    for what in ("issue", "revoke"):
        began = time.perf_counter()
        before = clock.seconds, clock.count, clock.verifiers
        if what == "issue":
            wanted = [lifecycle.Wanted(role, grant, "to measure", None, None, None, None) for grant in grants]
            lent = [lending.lend(one, timezone.now()) for one in wanted]
        else:
            for one in lent:
                lifecycle.end(one.lease, lifecycle.Why.AGENT, "agent:bench", timezone.now())
                taking_back.take_back_now(one.lease.pk)
        spent[what] = time.perf_counter() - began
        spent[f"{what} sql"] = clock.seconds - before[0]
        spent[f"{what} verifiers"] = clock.verifiers - before[2]
        spent[f"{what} round trips"] = (clock.count - before[1]) / len(grants)
    return spent


def bare(count: int) -> dict[str, float]:
    """The backend's part alone, by the engine over one connection."""
    from datetime import UTC, datetime

    from credentials.backends import target_of
    from credentials.engines import Account, Trace
    from credentials.models import Backend, Role
    from foundation.handles import new_handle, new_id

    backend, role = Backend.objects.get(), Role.objects.get()
    link = backend.find_engine().connect(target_of(backend))
    until = datetime.now(UTC) + timedelta(hours=1)
    # Under a prefix of their own: the product would take back accounts of its prefix that no lease accounts for.
    accounts = [Account(f"bare_{new_id().hex[:20]}", role.settings, until, Trace("", "", "", "")) for _ in range(count)]
    spent = {}
    began = time.perf_counter()
    for account in accounts:
        link.create(account, new_handle())
    spent["issue"] = time.perf_counter() - began
    began = time.perf_counter()
    for account in accounts:
        link.revoke(account)
        link.verify(account.name)
    spent["revoke"] = time.perf_counter() - began
    return spent


def measure_rates(each: int) -> None:
    from django.conf import settings
    from django.db import connections

    from credentials.models import Role

    settings.LEASES_MAX_PER_AGENT = settings.LEASES_MAX_PER_PERSON = 10**6  # and in the workers, which are our forks
    Role.objects.update(most_per_agent=10**6, most_per_person=10**6, most_leases=10**6)
    Role.objects.get().backend.__class__.objects.update(most_leases=10**6)
    say(f"\nIssue and revoke, {each} by each worker (in brackets: round trips of one; the backend's SQL alone):")
    for workers in (1, 4):
        grants = make_grants(each * workers)
        connections["default"].close()
        connections["default"].close_pool()  # a child needs its own
        shares = [grants[number::workers] for number in range(workers)]
        ours = in_workers(workers, lambda number, shares=shares: work(shares[number]))
        alone = in_workers(workers, lambda number: bare(each))
        for what in ("issue", "revoke"):
            rate = sum(each / one[what] for one in ours)
            sql = sum(each / one[f"{what} sql"] for one in ours)
            whole = sum(each / (one[f"{what} sql"] + one[f"{what} verifiers"]) for one in ours)
            trips = statistics.mean(one[f"{what} round trips"] for one in ours)
            backend = sum(each / one[what] for one in alone)
            say(
                f"  {workers} worker{'s' if workers > 1 else ' '} {what:6} {rate:7.0f}/s   the same SQL alone "
                f"{sql:7.0f}/s   ratio {rate / sql:.2f}   with verifiers {rate / whole:.2f}   "
                f"({trips:.0f}; {backend:.0f}/s)"
            )


def show_what_is_left() -> None:
    import psycopg

    known = json.loads((Path(os.environ["DATA_DIR"]) / "keys" / "postgres.json").read_text())
    port = json.loads((Path(os.environ["DATA_DIR"]) / "demo" / "backend.json").read_text())["settings"]["port"]
    url = f"postgres://postgres:{known['postgres']}@127.0.0.1:{port}/demo_orders"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM pg_authid")
        acls = connection.execute("SELECT count(*) FROM pg_class WHERE relacl::text LIKE '%cs_%'").fetchone()
        roles = connection.execute("SELECT count(*), pg_relation_size('pg_authid') FROM pg_authid").fetchone()
    named = acls[0] if acls else "?"
    say(f"\nAfter all of them: {named} table ACLs name an account; pg_authid has {roles} (rows, bytes)")


def expire_at_once(count: int, url: str, supervisor: subprocess.Popen[bytes]) -> None:
    from django.utils import timezone

    from credentials.models import Backend, Lease, Role
    from foundation.handles import new_id
    from oauth.models import Grant

    backend, role = Backend.objects.get(), Role.objects.get()
    grant = Grant.objects.select_related("agent").get(pk=make_grants(1)[0])
    ids, now = [new_id() for _ in range(count)], timezone.now()
    ends = now + timedelta(hours=2)
    _make_accounts([f"{backend.prefix}{one.hex[:20]}" for one in ids])
    Lease.objects.bulk_create(
        [
            Lease(
                id=one, role=role, backend=backend, grant=grant, agent=grant.agent, user_id=grant.user_id,
                operation_digest="d" * 43, use_id=new_id(), account_name=f"{backend.prefix}{one.hex[:20]}",
                settings=role.settings, state="active", created_at=now, issued_at=now, lifetime=3600, expires_at=ends,
                max_expires_at=ends, bound_by="asked", most_bound_by="grant",
            )
            for one in ids
        ],
        batch_size=1000,
    )  # fmt: skip
    sweeper = _child(supervisor.pid, "sweeper")
    before, idle = _memory(sweeper), _latencies(url, 20)
    most, busy, stop = [before], [], threading.Event()

    def watch() -> None:
        while not stop.is_set():
            most.append(_memory(sweeper))
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
        f"  the sweeper's memory: {before:.0f} MiB before, {max(most):.0f} MiB at the most\n"
        f"  other requests (/readyz, which asks the database): median {statistics.median(idle) * 1000:.0f} ms idle, "
        f"{statistics.median(busy) * 1000:.0f} ms meanwhile, slowest {max(busy) * 1000:.0f} ms of {len(busy)}"
    )


def _make_accounts(names: list[str]) -> None:
    import psycopg
    from psycopg import sql

    from credentials.backends import target_of
    from credentials.models import Backend

    target = target_of(Backend.objects.get())
    at = target.settings
    with psycopg.connect(
        host=at["host"], port=at["port"], dbname=at["database"], user=at["user"], password=target.secret
    ) as connection:
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


def _memory(pid: int) -> float:
    """MiB that it holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def _latencies(url: str, count: int) -> list[float]:
    found = []
    for _ in range(count):
        began = time.perf_counter()
        if not answers(f"{url}/readyz"):
            raise SystemExit("the product no longer answers")
        found.append(time.perf_counter() - began)
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--each", type=int, default=400, help="issues and revokes of each worker")
    parser.add_argument("--expire", type=int, default=10_000, help="leases that expire at once; 0 for none")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # and everything that was started ends with us
    with product() as (url, _data_dir, process):
        import django

        django.setup()
        say(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before the start")
        measure_rates(options.each)
        show_what_is_left()
        if options.expire:
            expire_at_once(options.expire, url, process)


if __name__ == "__main__":
    main()
