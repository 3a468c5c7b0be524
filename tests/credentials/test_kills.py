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
from credentials.backends import links
from credentials.engines import BUILT_IN
from credentials.leases import issuance
from credentials.models import Backend, Lease, Role
from oauth.models import Grant, Use
from tests.patience import PATIENCE, until
from tests.support.crash import KEY, prepared, wanted
from tests.support.lease_backends import LeaseBackend, MariaDbLeaseBackend, PostgresLeaseBackend, RedisLeaseBackend
from tests.support.leases import Holder, allow_leases, make_backend, make_grant, make_role, sweep_until_quiet
from tests.support.sweeper import ROOT, sweeper
from tests.support.world import Caller

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
OFFLINE = {
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
LEASE_BACKENDS: dict[str, Callable[[Any], LeaseBackend]] = {
    "mysql": lambda request: MariaDbLeaseBackend(request.getfixturevalue("mysql_system")),
    "postgres": lambda request: PostgresLeaseBackend(request.getfixturevalue("postgres_server").system("lease_admin")),
    "redis": lambda request: RedisLeaseBackend(request.getfixturevalue("redis_system")),
}
Crash = Callable[..., int]


@dataclass(frozen=True)
class Crashed:
    """Of one lease at one call."""

    grant: Grant
    what: str  # as crash.prepared wants it
    issued: issuance.IssuedLease | None = None  # before


@pytest.fixture(scope="module")
def crash() -> Iterator[Crash]:
    """Does one job in a child of one process that has everything loaded (crash.py); answers how it ended."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.crash"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
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
def lease_backend(request: pytest.FixtureRequest) -> Iterator[LeaseBackend]:
    made = LEASE_BACKENDS[request.param](request)
    yield made
    made.close()


@pytest.fixture
def crash_role(lease_backend: LeaseBackend) -> Iterator[Role]:
    """The only one."""
    backend = make_backend(lease_backend.system)
    yield make_role(backend, "to-crash", lease_backend.role, max_per_agent=1000, max_per_user=1000)
    links.close_all()


@pytest.mark.parametrize("act", list(DONE))
def test_killed_before_and_after_every_call(
    agent: Caller, user: User, crash_role: Role, lease_backend: LeaseBackend, crash: Crash, act: str
) -> None:
    backend = crash_role.backend
    crashed = crash_at_every_call(act, allow_leases(agent, user), crash_role, lease_backend, crash)
    assert Event.objects.filter(kind=DONE[act], grant_id=crashed[-1].grant.id).exists()

    wait_until_the_dead_are_gone()
    assert one_sweep() == 1
    offline = [is_in(one, "active") for one in crashed]
    assert (offline[0], offline[-1]) == OFFLINE[act]
    assert offline == sorted(offline, reverse=act == "revoke"), "from one call on it is another way, and stays so"
    check_that_only_leases_are_there(lease_backend, backend, with_traces=act not in MAKES)
    if act in MAKES:
        check_that_what_came_to_nothing_cost_nothing(crashed)
    if act == "unwrap":
        check_that_closed_ones_can_be_opened(crashed)
    if act == "password":
        check_that_the_next_repeat_has_a_password(crashed, lease_backend)

    Lease.objects.filter(state="active").update(expires_at=timezone.now())
    assert one_sweep() == 1
    assert not Lease.objects.exclude(state="revoked").exists()
    check_that_only_leases_are_there(lease_backend, backend, with_traces=True)
    assert len(crashed) - 1 >= LEAST[backend.engine][act]


def crash_at_every_call(
    act: str, holder: Holder, role: Role, lease_backend: LeaseBackend, crash: Crash
) -> list[Crashed]:
    """At one call after the other, each time of another lease; until there is none left to be killed at."""
    crashed: list[Crashed] = []
    ended = -signal.SIGKILL
    while ended == -signal.SIGKILL:
        crashed.append(make_ready(act, make_grant(holder, role), lease_backend))
        ended = crash(act=act, what=crashed[-1].what, call=len(crashed) - 1)
    assert ended == 0
    return crashed


def make_ready(act: str, grant: Grant, lease_backend: LeaseBackend, lifetime: int | None = None) -> Crashed:
    """All that comes before the act."""
    now = timezone.now()
    if act == "issue":
        return Crashed(grant, str(grant.id))
    if act == "unwrap":
        wrapped = issuance.issue_lease(wanted(grant.id, wrap_for=600), now)
        assert isinstance(wrapped, issuance.WrappedLease), wrapped
        return Crashed(grant, wrapped.handle)
    issued = issuance.issue_lease(wanted(grant.id, idempotency_key=KEY, lifetime=lifetime), now)
    assert isinstance(issued, issuance.IssuedLease), issued
    lease_backend.leave_traces(issued.lease.account_name, issued.password)
    return Crashed(grant, str(grant.id if act == "password" else issued.lease.id), issued)


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


def check_that_only_leases_are_there(lease_backend: LeaseBackend, backend: Backend, *, with_traces: bool) -> None:
    issued = dict(Lease.objects.filter(state="active").values_list("account_name", "expires_at"))
    for accounts in lease_backend.accounts(backend.prefix):
        assert accounts == set(issued), "no account without a lease, and no lease without its account"
    for traces in lease_backend.traces(backend.prefix):
        assert traces == (set(issued) if with_traces else set())
    for name, expires_at in issued.items():
        assert not lease_backend.ends_before(name, expires_at)
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
        assert isinstance(prepared("unwrap", one.what)(), issuance.IssuedLease)


def check_that_the_next_repeat_has_a_password(crashed: list[Crashed], lease_backend: LeaseBackend) -> None:
    """On every node alike, whatever was set where; and no other is good any more."""
    for one in crashed:
        again = prepared("password", one.what)()
        assert one.issued and isinstance(again, issuance.IssuedLease) and again.lease.id == one.issued.lease.id
        assert all(lease_backend.lets_in(again.lease.account_name, again.password))
        assert not any(lease_backend.lets_in(again.lease.account_name, one.issued.password))


@pytest.mark.parametrize("lease_backend", ["postgres"], indirect=True)
def test_claims_of_the_dead_run_out_by_themselves(
    agent: Caller, user: User, crash_role: Role, lease_backend: LeaseBackend, crash: Crash
) -> None:
    """In real time, by the product's own sweeper: nobody else touches a row."""
    # The dead hold their claims until all of them have died, however long that takes, and then for 5 seconds more. The
    # leases are over before that.
    holder, life, claim = allow_leases(agent, user), 3, 3600  # seconds
    for act in ("renew", "revoke"):
        for call in range(1, LEAST["postgres"][act], 2):
            one = make_ready(act, make_grant(holder, crash_role), lease_backend, life)
            assert crash(act=act, what=one.what, call=call, claim=claim) == -signal.SIGKILL
    Lease.objects.filter(claimed_until__gt=timezone.now()).update(claimed_until=timezone.now() + timedelta(seconds=5))
    held = dict(Lease.objects.exclude(claimed_until=None).values_list("id", "claimed_until"))
    states = set(Lease.objects.filter(pk__in=held).values_list("state", flat=True))
    assert states == {"active", "revoking"}, "some renewals and some revocations are in a dead hand"
    with sweeper():
        until(lambda: not Lease.objects.exclude(state="revoked").exists())
    for lease_id, free_at in held.items():
        assert Lease.objects.get(pk=lease_id, revoked_at__gt=free_at), "not before: who had it may have been alive"
    check_that_only_leases_are_there(lease_backend, crash_role.backend, with_traces=True)
