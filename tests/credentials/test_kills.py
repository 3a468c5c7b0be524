"""kill -9 before and after every call to the outside: for each act that touches a system, on every engine of ours."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from accounts.models import User
from audit.models import Event
from credentials import lending, links
from credentials.engines import BUILT_IN
from credentials.models import Backend, Lease, Role
from oauth.models import Grant, Use
from tests.credentials.crash import KEY, prepared, wanted
from tests.credentials.lending import Buyer, allow_leases, make_backend, make_grant, make_role, sweep_until_quiet
from tests.credentials.lent_from import LentFrom, LentFromMariaDb, LentFromPostgres, LentFromRedis
from tests.credentials.sweeper import ROOT, sweeper
from tests.patience import PATIENCE
from tests.world import Caller

pytestmark = pytest.mark.django_db(transaction=True)
# What is on the record once it is done.
DONE = {
    "issue": "lease.issued",
    "unwrap": "lease.issued",
    "password": "lease.password_set",
    "renew": "lease.renewed",
    "revoke": "lease.revoked",
}
# Whether an account is there after the sweep, where the first call was not made, and where all were.
STAYS = {
    "issue": (False, True),
    "unwrap": (False, True),
    "password": (True, True),
    "renew": (True, True),
    "revoke": (True, False),
}
MAKES = {"issue", "unwrap"}  # the others are about an account that is there already
# So many calls each makes at the least, so that none goes uncounted: who saves one says so here.
LEAST = {
    "mysql": {"issue": 22, "unwrap": 14, "password": 13, "renew": 12, "revoke": 21},
    "postgres": {"issue": 16, "unwrap": 8, "password": 10, "renew": 10, "revoke": 25},
    "redis": {"issue": 26, "unwrap": 18, "password": 20, "renew": 16, "revoke": 29},
}
# Every engine of ours is held to this.
LENT_FROM: dict[str, Callable[[Any], LentFrom]] = {
    "mysql": lambda request: LentFromMariaDb(request.getfixturevalue("mysql_system")),
    "postgres": lambda request: LentFromPostgres(request.getfixturevalue("postgres_server").system("lender")),
    "redis": lambda request: LentFromRedis(request.getfixturevalue("redis_system")),
}
Crash = Callable[..., int]


@dataclass(frozen=True)
class Crashed:
    """Of one lease at one call."""

    grant: Grant
    what: str  # as crash.prepared wants it
    lent: lending.Lent | None = None  # before


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
    crashed = crash_at_every_call(act, allow_leases(agent, person), crash_role, lent_from, crash)
    assert Event.objects.filter(kind=DONE[act], grant_id=crashed[-1].grant.id).exists()

    wait_until_the_dead_are_gone()
    assert one_sweep() == 1
    stays = [is_in(one, "active") for one in crashed]
    assert (stays[0], stays[-1]) == STAYS[act]
    assert stays == sorted(stays, reverse=act == "revoke"), "from one call on it is another way, and stays so"
    check_that_only_what_is_lent_is_there(lent_from, backend, with_traces=act not in MAKES)
    if act in MAKES:
        check_that_what_came_to_nothing_cost_nothing(crashed)
    if act == "unwrap":
        check_that_closed_ones_can_be_opened(crashed)
    if act == "password":
        check_that_the_next_repeat_has_a_password(crashed, lent_from)

    Lease.objects.filter(state="active").update(expires_at=timezone.now())
    assert one_sweep() == 1
    assert not Lease.objects.exclude(state="revoked").exists()
    check_that_only_what_is_lent_is_there(lent_from, backend, with_traces=True)
    assert len(crashed) - 1 >= LEAST[backend.engine][act]


def crash_at_every_call(act: str, buyer: Buyer, role: Role, lent_from: LentFrom, crash: Crash) -> list[Crashed]:
    """At one call after the other, each time of another lease; until there is none left to be killed at."""
    crashed: list[Crashed] = []
    ended = -signal.SIGKILL
    while ended == -signal.SIGKILL:
        crashed.append(make_ready(act, make_grant(buyer, role), lent_from))
        ended = crash(act=act, what=crashed[-1].what, call=len(crashed) - 1)
    assert ended == 0
    return crashed


def make_ready(act: str, grant: Grant, lent_from: LentFrom, lifetime: int | None = None) -> Crashed:
    """All that comes before the act."""
    now = timezone.now()
    if act == "issue":
        return Crashed(grant, str(grant.id))
    if act == "unwrap":
        wrapped = lending.lend(wanted(grant.id, wrap_for=600), now)
        assert isinstance(wrapped, lending.Wrapped), wrapped
        return Crashed(grant, wrapped.handle)
    lent = lending.lend(wanted(grant.id, idempotency_key=KEY, lifetime=lifetime), now)
    assert isinstance(lent, lending.Lent), lent
    lent_from.leave_traces(lent.lease.account_name, lent.password)
    return Crashed(grant, str(grant.id if act == "password" else lent.lease.id), lent)


def is_in(crashed: Crashed, *states: str) -> bool:
    return Lease.objects.filter(grant=crashed.grant, state__in=states).exists()


def wait_until_the_dead_are_gone() -> None:
    """The database notices a moment later, and until then keeps what they had locked from the sweep."""
    others = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid()"
    )
    give_up = time.monotonic() + PATIENCE
    with connection.cursor() as cursor:
        while cursor.execute(others).fetchone() != (0,):
            assert time.monotonic() < give_up
            time.sleep(0.02)


def one_sweep() -> int:
    """After the claims of the dead have run out; those that were not opened yet are nobody's work."""
    claimed = Lease.objects.filter(claimed_until__isnull=False).exclude(state="wrapped")
    claimed.update(claimed_until=timezone.now())
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


def check_that_what_came_to_nothing_cost_nothing(crashed: list[Crashed]) -> None:
    holds = [is_in(one, "active", "wrapped") for one in crashed]
    spent = [Grant.objects.get(pk=one.grant.pk).uses_left == 0 for one in crashed]
    assert spent == holds
    assert Use.objects.count() == holds.count(True)


def check_that_closed_ones_can_be_opened(crashed: list[Crashed]) -> None:
    closed = [one for one in crashed if is_in(one, "wrapped")]
    assert closed[0] == crashed[0], "its process was killed before it said anything"
    for one in closed:
        assert isinstance(prepared("unwrap", one.what)(), lending.Lent)


def check_that_the_next_repeat_has_a_password(crashed: list[Crashed], lent_from: LentFrom) -> None:
    """On every node alike, whatever was set where; and no other is good any more."""
    for one in crashed:
        again = prepared("password", one.what)()
        assert one.lent and isinstance(again, lending.Lent) and again.lease.id == one.lent.lease.id
        assert all(lent_from.lets_in(again.lease.account_name, again.password))
        assert not any(lent_from.lets_in(again.lease.account_name, one.lent.password))


@pytest.mark.parametrize("lent_from", ["postgres"], indirect=True)
def test_claims_of_the_dead_run_out_by_themselves(
    agent: Caller, person: User, crash_role: Role, lent_from: LentFrom, crash: Crash
) -> None:
    """In real time, by the product's own sweeper: nobody else touches a row."""
    buyer, life, claim = allow_leases(agent, person), 3, 5  # seconds: over before the dead let go of it
    for act in ("renew", "revoke"):
        for call in range(1, LEAST["postgres"][act], 2):
            one = make_ready(act, make_grant(buyer, crash_role), lent_from, life)
            assert crash(act=act, what=one.what, call=call, claim=claim) == -signal.SIGKILL
    held = dict(Lease.objects.filter(claimed_until__gt=timezone.now()).values_list("id", "claimed_until"))
    states = set(Lease.objects.filter(pk__in=held).values_list("state", flat=True))
    assert states == {"active", "revoking"}, "some renewals and some revocations are in a dead hand"
    free = max(filter(None, held.values()))
    with sweeper():
        while Lease.objects.exclude(state="revoked").exists():
            assert timezone.now() < free + timedelta(seconds=10), "a few sweeps later"
            time.sleep(0.2)
    for lease_id, until in held.items():
        assert Lease.objects.get(pk=lease_id, revoked_at__gt=until), "not before: who had it may have been alive"
    check_that_only_what_is_lent_is_there(lent_from, crash_role.backend, with_traces=True)
