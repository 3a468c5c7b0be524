"""kill -9 before and after every call to the outside: for issue, renew and revoke, on every engine of ours."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from accounts.models import User
from audit.models import Event
from credentials import links
from credentials.engines import BUILT_IN
from credentials.models import Backend, Lease, Role
from oauth.models import Grant, Use
from tests.credentials.lending import Buyer, allow_leases, buy, make_backend, make_grant, make_role, sweep_until_quiet
from tests.credentials.lent_from import LentFrom, LentFromMariaDb, LentFromPostgres, LentFromRedis
from tests.world import Caller

pytestmark = pytest.mark.django_db(transaction=True)
ROOT = Path(__file__).resolve().parent.parent.parent
# What is on the record once it is done.
DONE = {"issue": "lease.issued", "renew": "lease.renewed", "revoke": "lease.revoked"}
# Whether an account is there after the sweep, where the first call was not made, and where all were.
STAYS = {"issue": (False, True), "renew": (True, True), "revoke": (True, False)}
# So many calls each makes at the least, so that none goes uncounted: who saves one says so here.
LEAST = {
    "mysql": {"issue": 22, "renew": 12, "revoke": 21},
    "postgres": {"issue": 16, "renew": 10, "revoke": 25},
    "redis": {"issue": 26, "renew": 16, "revoke": 29},
}
# Every engine of ours is held to this.
LENT_FROM: dict[str, Callable[[Any], LentFrom]] = {
    "mysql": lambda request: LentFromMariaDb(request.getfixturevalue("mysql_system")),
    "postgres": lambda request: LentFromPostgres(request.getfixturevalue("postgres_server").system("lender")),
    "redis": lambda request: LentFromRedis(request.getfixturevalue("redis_system")),
}
Crash = Callable[..., int]


@pytest.fixture(scope="module")
def crash() -> Iterator[Crash]:
    """Does one job in a child of one process that has everything loaded (crash.py); answers how it ended."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.credentials.crash"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        cwd=ROOT, env=os.environ | {"DJANGO_SETTINGS_MODULE": "authserver.settings"},
    ) as process:  # fmt: skip
        assert process.stdin and process.stdout
        jobs, answers = process.stdin, process.stdout

        def run(**job: Any) -> int:
            print(json.dumps(job), file=jobs, flush=True)
            return int(answers.readline())

        yield run
    assert process.returncode == 0


@pytest.fixture(params=sorted(BUILT_IN))
def lent_from(request: pytest.FixtureRequest) -> Iterator[LentFrom]:
    made = LENT_FROM[request.param](request)
    yield made
    made.close()


@pytest.fixture
def crash_role(lent_from: LentFrom) -> Iterator[Role]:
    """The only one."""
    backend = make_backend(lent_from.system)
    yield make_role(backend, "to-crash", lent_from.role, most_per_agent=1000, most_per_person=1000)
    links.close_all()


@pytest.mark.parametrize("act", list(DONE))
def test_killed_before_and_after_every_call(
    agent: Caller, person: User, crash_role: Role, lent_from: LentFrom, crash: Crash, act: str
) -> None:
    backend = crash_role.backend
    grants = crash_at_every_call(act, allow_leases(agent, person), crash_role, lent_from, crash)
    assert Event.objects.filter(kind=DONE[act], grant_id=grants[-1].id).exists()

    wait_until_the_dead_are_gone()
    assert one_sweep() == 1
    stays = [Lease.objects.filter(grant=grant, state="active").exists() for grant in grants]
    assert (stays[0], stays[-1]) == STAYS[act]
    assert stays == sorted(stays, reverse=act == "revoke"), "from one call on it is another way, and stays so"
    check_that_only_what_is_lent_is_there(lent_from, backend, with_traces=act != "issue")
    if act == "issue":
        spent = [Grant.objects.get(pk=grant.pk).uses_left == 0 for grant in grants]
        assert spent == stays, "what came to nothing cost nothing"
        assert Use.objects.count() == stays.count(True)

    Lease.objects.filter(state="active").update(expires_at=timezone.now())
    assert one_sweep() == 1
    assert not Lease.objects.exclude(state="revoked").exists()
    check_that_only_what_is_lent_is_there(lent_from, backend, with_traces=True)
    assert len(grants) - 1 >= LEAST[backend.engine][act]


def crash_at_every_call(act: str, buyer: Buyer, role: Role, lent_from: LentFrom, crash: Crash) -> list[Grant]:
    """At one call after the other, each time of another lease; until there is none left to be killed at."""
    grants: list[Grant] = []
    ended = -signal.SIGKILL
    while ended == -signal.SIGKILL:
        grants.append(make_grant(buyer, role))
        which = grants[-1].id
        if act != "issue":
            lent = buy(grants[-1], role)
            lent_from.leave_traces(lent.lease.account_name, lent.password)
            which = lent.lease.id
        ended = crash(act=act, id=str(which), call=len(grants) - 1)
    assert ended == 0
    return grants


def wait_until_the_dead_are_gone() -> None:
    """The database notices a moment later, and until then keeps what they had locked from the sweep."""
    others = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid()"
    )
    give_up = time.monotonic() + 10
    with connection.cursor() as cursor:
        while cursor.execute(others).fetchone() != (0,):
            assert time.monotonic() < give_up
            time.sleep(0.02)


def one_sweep() -> int:
    """After the claims of the dead have run out."""
    Lease.objects.filter(claimed_until__isnull=False).update(claimed_until=timezone.now())
    Lease.objects.filter(due_at__isnull=False).update(due_at=timezone.now())
    return sweep_until_quiet()


def check_that_only_what_is_lent_is_there(lent_from: LentFrom, backend: Backend, *, with_traces: bool) -> None:
    lent = dict(Lease.objects.filter(state="active").values_list("account_name", "expires_at"))
    for accounts in lent_from.accounts(backend.prefix):
        assert accounts == set(lent), "no account without a lease, and no lease without its account"
    for traces in lent_from.traces(backend.prefix):
        assert traces == (set(lent) if with_traces else set())
    for name, expires_at in lent.items():
        assert not lent_from.ends_before(name, expires_at)
    for kind in ("lease.ended", "lease.revoked"):
        assert Event.objects.filter(kind=kind).count() == Lease.objects.filter(state="revoked").count()
