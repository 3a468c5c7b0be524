"""A lease counts as long as its grant does: in every state of the world, by every statement that asks."""

from datetime import timedelta
from typing import Any

import pytest

from accounts.models import User
from credentials.leases.lifecycle import statements
from credentials.leases.retries import CLAIM_DURATION
from credentials.models import Lease, Role
from foundation.handles import new_id
from oauth.models import Grant
from tests.oauth.test_liveness import NOW, grants_in_every_state
from tests.support.leases import Holder

pytestmark = pytest.mark.django_db


def make_lease(role: Role, grant: Grant, **fields: Any) -> Lease:
    life = {"lifetime": 60, "expires_at": NOW + timedelta(days=1), "max_expires_at": NOW + timedelta(days=1)}
    return Lease.objects.create(
        role=role, backend=role.backend, grant=grant, agent=grant.agent, operation_digest="d", use_id=new_id(),
        account_name="cs_x", settings={}, state="creating", created_at=NOW, claimed_until=NOW + CLAIM_DURATION,
        **life, **fields,
    )  # fmt: skip


def test_it_is_handed_over_and_kept_only_while_its_grant_counts(holder: Holder, role: Role, user: User) -> None:
    lease = None
    for what, grant, counts in grants_in_every_state(holder.caller.agent, user, role.operation_type.resource):
        lease = lease or make_lease(role, grant)
        assert Lease.objects.entitled(NOW).exists() is counts, what
        assert Lease.objects.not_entitled(NOW).exists() is not counts, what
        assert bool(statements.ACTIVATE(lease=lease.pk, claimed_until=NOW + CLAIM_DURATION, now=NOW)) is counts, what
        Lease.objects.update(state="creating", claimed_until=NOW + CLAIM_DURATION)


@pytest.mark.parametrize(
    ("change", "moves"),
    [
        ({}, 1),
        ({"state": "active"}, 0),
        ({"state": "revoking"}, 0),
        ({"claimed_until": NOW}, 0),
        ({"claimed_until": None}, 0),
        ({"expires_at": NOW}, 0),
    ],
    ids=["being made", "handed over", "ended", "somebody else's", "nobody's", "its time is up"],
)
def test_only_who_makes_it_hands_it_over(
    holder: Holder, role: Role, user: User, change: dict[str, Any], moves: int
) -> None:
    grant = Grant.objects.create(
        id=new_id(), agent=holder.caller.agent, user=user, operation_digest="d", created_at=NOW,
        expires_at=NOW + timedelta(days=1),
    )  # fmt: skip
    lease = make_lease(role, grant)
    Lease.objects.update(**change)
    assert statements.ACTIVATE(lease=lease.pk, claimed_until=NOW + CLAIM_DURATION, now=NOW) == moves
