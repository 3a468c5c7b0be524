"""A process that is killed (kill -9) right before its n-th call to the outside; the parent tells how each ended.

`python -m tests.support.crash` reads jobs from standard input, one a line: {act, what, call}, perhaps with the
seconds of a {claim}. Each runs in a child of its own, forked before anything is connected; how it ended is written
before the next is read.
"""

import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import django
import psycopg
import pymysql
import redis
from django.db import connection

LONGEST = 60  # seconds of one job
KEY = "asked twice"  # the Idempotency-Key of a repeated request
# To a connected system, and to our own database. Who connects is one call, and so is each statement or command, also
# those of a login.
CALLS: list[tuple[Any, str]] = [
    (psycopg, "connect"),
    (psycopg.Connection, "wait"),
    (pymysql.Connection, "connect"),
    (pymysql.Connection, "_execute_command"),
    (redis.Connection, "_connect"),
    (redis.Connection, "send_packed_command"),
]


def kill_before(call: int) -> None:
    """Right before one call is right after the one before: nothing of ours that lasts lies between."""
    made = 0

    def count() -> None:
        nonlocal made
        if threading.current_thread() is not threading.main_thread():
            return  # such as those that keep our own connections
        if made == call:
            os.kill(os.getpid(), signal.SIGKILL)
        made += 1

    for owner, name in CALLS:
        setattr(owner, name, _counted(getattr(owner, name), count))


def _counted(function: Callable[..., Any], count: Callable[[], None]) -> Callable[..., Any]:
    def counted(*arguments: Any, **more: Any) -> Any:
        # This one of psycopg's only notes what is to be sent later.
        if not any(getattr(one, "__name__", "") == "_set_autocommit_gen" for one in arguments):
            count()
        return function(*arguments, **more)

    return counted


def shorten_claims(seconds: float) -> None:
    """In every module that has the rule."""
    from credentials.leases import retries

    rule = retries.CLAIM_DURATION
    for name, module in list(sys.modules.items()):
        if name.startswith("credentials.") and vars(module).get("CLAIM_DURATION") is rule:
            vars(module)["CLAIM_DURATION"] = timedelta(seconds=seconds)


def wanted(grant_id: Any, **more: Any) -> Any:
    """A lease request for the only role."""
    from credentials.leases import lifecycle
    from credentials.models import Role

    fields = {"lifetime": None, "wrap_for": None, "idempotency_key": None} | more
    role = Role.objects.select_related("backend", "operation_type").get()
    return lifecycle.LeaseRequest(role, grant_id, "to crash", approved_lifetime=None, **fields)


def act(job: dict[str, Any]) -> None:
    from foundation.errors import ProtocolError

    begin = prepared(job["act"], job["what"])
    if "claim" in job:
        shorten_claims(job["claim"])
    kill_before(job["call"])
    answer = begin()
    assert answer is not None and not isinstance(answer, ProtocolError), answer


def prepared(act: str, what: str) -> Callable[[], Any]:
    """The call, with all that was read before. `what`: the grant of the request, a handle, or the lease."""
    from django.utils import timezone

    from credentials.leases import issuance
    from tests.support.configuration import apply_file

    now = timezone.now()
    match act:
        case "issue":
            return partial(issuance.issue_lease, wanted(what), now)
        case "password":
            return partial(issuance.issue_lease, wanted(what, idempotency_key=KEY), now)
        case "unwrap":
            return partial(issuance.unwrap, what, now)
        case "renew":
            return partial(issuance.renew, _lease(what), 1200, now)
        case "revoke":
            return partial(_revoke, _lease(what), now)
        case "apply_config":
            return partial(apply_file, Path(what), "--yes")
    raise ValueError(act)


def _lease(lease_id: str) -> Any:
    from credentials.models import Lease

    return Lease.objects.select_related("agent", "role", "backend").get(pk=lease_id)


def _revoke(lease: Any, now: Any) -> bool:
    from credentials.leases import lifecycle, revocation

    ended = lifecycle.end(lease, lifecycle.EndReason.AGENT, "agent:crash", now)
    revocation.revoke_now(lease.id)
    return ended


def run(job: dict[str, Any]) -> int:
    """The child's exit code, or the number of the signal that ended it, negative."""
    child = os.fork()
    if child == 0:
        signal.alarm(LONGEST)
        try:
            act(job)
        except BaseException:  # noqa: BLE001 - the child does not go on as its parent
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    django.setup()
    # Loaded once, before the forks.
    import credentials.leases.issuance  # noqa: F401
    from credentials.engines import BUILT_IN, find_engine

    for name in BUILT_IN:
        find_engine(name)
    assert connection.vendor == "postgresql"
    for line in sys.stdin:
        print(run(json.loads(line)), flush=True)  # noqa: T201
