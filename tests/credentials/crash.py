"""A process that is killed (kill -9) after the n-th round trip to the backend; the parent tells how each ended.

`python -m tests.credentials.crash` reads jobs from standard input: a JSON list of {act, id, kill_after}. Each runs in
a child of its own, forked before anything is connected.
"""

import json
import os
import signal
import sys
from typing import Any

import django
import psycopg

LENDER = "lender"


def kill_after(count: int) -> None:
    """After so many round trips of our administrator's connections; 0 is before the first."""
    seen = 0
    wait = psycopg.Connection.wait

    def counted(connection: Any, *arguments: Any, **more: Any) -> Any:
        nonlocal seen
        if connection.info.user != LENDER:
            return wait(connection, *arguments, **more)
        if seen == count:
            os.kill(os.getpid(), signal.SIGKILL)
        answer = wait(connection, *arguments, **more)
        seen += 1
        if seen == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    psycopg.Connection.wait = counted  # type: ignore[method-assign]


def act(job: dict[str, Any]) -> None:
    from django.utils import timezone

    from credentials import lending, lifecycle, taking_back
    from credentials.models import Lease, Role

    now = timezone.now()
    match job["act"]:
        case "issue":
            role = Role.objects.select_related("backend", "operation_type").get()
            lending.lend(lifecycle.Wanted(role, job["id"], "to crash", None, None, None, None), now)
        case "renew":
            lending.renew(_lease(Lease, job), 1200, now)
        case "revoke":
            lifecycle.end(_lease(Lease, job), lifecycle.Why.AGENT, "agent:crash", now)
            taking_back.take_back_now(job["id"])


def _lease(model: Any, job: dict[str, Any]) -> Any:
    return model.objects.select_related("agent", "role", "backend").get(pk=job["id"])


def run(job: dict[str, Any]) -> int:
    child = os.fork()
    if child == 0:
        kill_after(job["kill_after"])
        act(job)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    django.setup()
    import credentials.lending  # noqa: F401 - loaded once, before the forks

    print(json.dumps([run(job) for job in json.load(sys.stdin)]))  # noqa: T201
