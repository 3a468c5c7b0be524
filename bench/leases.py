"""`make bench-leases`: leases on the real product with its durable PostgreSQL, which is also the backend.

1. Issues and revokes per second with 1 and 4 worker processes, beside a replay of their SQL by as many (replay.py says
   what is in it): the statements alone, and with the SCRAM verifier (RFC 5803) that whoever sends CREATE ROLE has to
   compute. In turn, and while the product's own processes run beside them.
2. What all of them left in pg_class.relacl and pg_authid: fails where a table names an account, where rows stayed, and
   where there is more than a page of growth.
3. Leases that expire at once (many_at_once.py): fails where the sweeper's memory grows by more than 50 MiB.
"""

import argparse
import json
import os
import signal
import statistics
import sys
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from left_behind import Left, check_that_nothing_is_left
from many_at_once import expire_at_once
from product import backend_login, leave_database, product, say
from replay import Recorded, Recorder, Replay

ACTS = ("issue", "revoke")
MAX_DIFFERENCE = 0.05  # leases of a replay that the sweeper took back first, as some of the product's own
WARM = 5  # leases of each worker that are not counted
ROUNDS = 4  # of product and replays in turn: what else the machine does is the same for all


def in_workers(count: int, act: Callable[[int], dict[str, Any]]) -> list[dict[str, Any]]:
    """Each in a process of its own, started together; what each answered."""
    start_read, start_write = os.pipe()
    pipes = []
    for number in range(count):
        read, write = os.pipe()
        if os.fork() == 0:
            try:
                os.read(start_read, 1)
                with os.fdopen(write, "wb") as answer:
                    answer.write(json.dumps(act(number)).encode())
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
            answers.append(answered.read())
    for _ in pipes:
        os.wait()
    if not all(answers):
        raise SystemExit("a worker failed")
    return [json.loads(answer) for answer in answers]


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


class Worker:
    """Issues and revokes as the API does for one agent."""

    def __init__(self) -> None:
        from credentials.leases import policy
        from credentials.models import Role

        policy.MAX_PER_MINUTE = 10**9
        self._role = Role.objects.select_related("backend", "operation_type__resource").get()

    def issue(self, grant: str) -> Any:
        from django.utils import timezone

        from credentials.leases import issuance, lifecycle

        wanted = lifecycle.LeaseRequest(self._role, grant, "to measure", None, None, None, None)
        issued = issuance.issue_lease(wanted, timezone.now())
        if not isinstance(issued, issuance.IssuedLease):
            raise SystemExit(f"no lease was issued: {issued!r}")
        return issued.lease

    def revoke(self, lease: Any) -> None:
        from django.utils import timezone

        from credentials.leases import lifecycle, revocation

        lifecycle.end(lease, lifecycle.EndReason.AGENT, "agent:bench", timezone.now())
        revocation.revoke_now(lease.pk)


def work(grants: list[str]) -> dict[str, float]:
    """Seconds of all issues, and of all revokes, but for the first ones: they put queries into SQL and log in."""
    worker = Worker()
    for lease in [worker.issue(grant) for grant in grants[:WARM]]:
        worker.revoke(lease)
    grants, began = grants[WARM:], time.perf_counter()
    leases = [worker.issue(grant) for grant in grants]
    issued = time.perf_counter()
    for lease in leases:
        worker.revoke(lease)
    return {"issue": issued - began, "revoke": time.perf_counter() - issued}


def record(grants: list[str]) -> dict[str, Any]:
    """One of each act, after the first ones."""
    worker = Worker()
    for lease in [worker.issue(grant) for grant in grants[:WARM]]:
        worker.revoke(lease)
    recorder, leases, found = Recorder(), [], {act: [] for act in ACTS}
    for grant in grants[WARM:]:
        leases.append(worker.issue(grant))
        found["issue"].append(recorder.take(leases[-1]))
    for lease in leases:
        worker.revoke(lease)
        found["revoke"].append(recorder.take(lease))
    for act in ACTS:
        if len({one.round_trips for one in found[act]}) != 1:
            raise SystemExit(f"one {act} does not send what another one does")
    return {act: found[act][-1].reply() for act in ACTS}


def replay(recorded: dict[str, Any], grants: list[str], login: dict[str, Any], with_verifier: bool) -> dict[str, float]:
    from foundation.handles import new_id

    own = Replay(login)
    ids = [{"lease": str(new_id()), "use": str(new_id()), "grant": grant} for grant in grants]
    acts = {act: Recorded.read(recorded[act]) for act in ACTS}

    def send(act: str, these: list[dict[str, str]]) -> float:
        return sum(own.send(acts[act], one, with_verifier=with_verifier) for one in these)

    for act in ACTS:
        send(act, ids[:WARM])
    return {act: send(act, ids[WARM:]) for act in ACTS} | {"differed": own.differed}


def in_shares(workers: int, each: int, act: Callable[[list[str]], dict[str, float]]) -> dict[str, float]:
    """Seconds that one worker took, on average; every lease is gone afterwards, and none counts as just requested."""
    from django.db.models import F

    from credentials.models import Lease

    grants = make_grants((each + WARM) * workers)
    leave_database()
    found = in_workers(workers, lambda number: act(grants[number::workers]))
    if sum(one.get("differed", 0) for one in found) > MAX_DIFFERENCE * len(grants):
        raise SystemExit(f"the replay goes another way than what was recorded: {found}")
    wait_until_all_are_gone()
    Lease.objects.update(created_at=F("created_at") - timedelta(minutes=2))
    return {act: statistics.mean(one[act] for one in found) for act in ACTS}


def wait_until_all_are_gone() -> None:
    from credentials.models import Lease

    give_up = time.monotonic() + 60
    while Lease.objects.exclude(state="revoked").exists():
        if time.monotonic() > give_up:
            raise SystemExit("not every lease was revoked")
        time.sleep(0.2)


def measure_rates(each: int) -> None:
    from django.conf import settings

    from credentials.models import Backend, Role

    settings.LEASES_MAX_PER_AGENT = settings.LEASES_MAX_PER_USER = 10**6  # and in the workers, which are our forks
    Role.objects.update(max_per_agent=10**6, max_per_user=10**6, max_leases=10**6)
    Backend.objects.update(max_leases=10**6)
    grants, login = make_grants(2 * WARM), backend_login()
    leave_database()
    recorded = in_workers(1, lambda _: record(grants))[0]
    runs: dict[str, Callable[[list[str]], dict[str, float]]] = {
        "product": work,
        "bare": lambda share: replay(recorded, share, login, with_verifier=False),
        "whole": lambda share: replay(recorded, share, login, with_verifier=True),
    }
    say(
        f"\nEach worker issues {each} leases and revokes them, in {ROUNDS} rounds; between them the same SQL is "
        "replayed (bench/replay.py):\n\n"
        "| workers | act | product | SQL alone | ratio | SQL and verifier | ratio | round trips |\n"
        "|---|---|---|---|---|---|---|---|"
    )
    for workers in (1, 4):
        rounds = [{name: in_shares(workers, each // ROUNDS, run) for name, run in runs.items()} for _ in range(ROUNDS)]
        for act in ACTS:
            took = {name: statistics.mean(one[name][act] for one in rounds) for name in runs}
            trips = Recorded.read(recorded[act]).round_trips
            say(f"| {workers} | {act} | {_rates(took, workers * (each // ROUNDS), act)} | {trips} |")


def _rates(took: dict[str, float], count: int, act: str) -> str:
    if act == "revoke":  # which needs no verifier: both replays are the same
        took = took | {"bare": (took["bare"] + took["whole"]) / 2}
    rate = {name: count / seconds for name, seconds in took.items()}
    bare = f"{rate['product']:.0f}/s | {rate['bare']:.0f}/s | {rate['product'] / rate['bare']:.2f}"
    whole = "- | -" if act == "revoke" else f"{rate['whole']:.0f}/s | {rate['product'] / rate['whole']:.2f}"
    return f"{bare} | {whole}"


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
        before = Left.find()
        measure_rates(options.each)
        check_that_nothing_is_left(before)
        if options.expire:
            expire_at_once(options.expire, make_grants(1)[0], url, process)


if __name__ == "__main__":
    main()
