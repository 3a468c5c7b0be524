"""What is alive, said by hand in Python, against every query that asks: all ways in which something may have ended."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest
from django.db import transaction

from accounts.models import User
from ciba.models import BackchannelRequest, is_alive
from clients.models import Agent, AgentLink
from foundation.handles import digest, new_id
from oauth.grants.lifecycle import UseCall, spend_locked
from oauth.models import Grant, RevokedToken, Use
from oauth.tokens.token_verification import living_grants
from operations.models import Resource
from tests.support.world import PAYMENT, Caller, ResourceServer

pytestmark = pytest.mark.django_db

NOW = datetime(2030, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def grants_in_every_state(agent: Agent, user: User, resource: Resource) -> Iterator[tuple[str, Grant, bool]]:
    """What it is, the grant as it then is in the database, and whether it counts."""
    grant = Grant.objects.create(
        id=new_id(), agent=agent, user=user, resource=resource, operation_digest="d", created_at=NOW, expires_at=NOW
    )
    for status, a_user, a_resource, revoked, left in product(
        Agent.Status.values,
        [None, "active", "inactive"],
        [None, "active", "inactive"],
        [None, NOW - SECOND],
        [-SECOND, timedelta(0), SECOND],
    ):
        Agent.objects.filter(pk=agent.pk).update(status=status)
        User.objects.filter(pk=user.pk).update(is_active=a_user == "active")
        Resource.objects.filter(pk=resource.pk).update(is_active=a_resource == "active")
        grant.user, grant.resource = user if a_user else None, resource if a_resource else None
        grant.revoked_at, grant.expires_at = revoked, NOW + left
        grant.save()
        counts = (
            status == "active"
            and a_user != "inactive"
            and a_resource != "inactive"
            and revoked is None
            and left > timedelta(0)
        )
        what = f"agent {status}, user {a_user}, resource {a_resource}, revoked {revoked}, ends in {left}"
        yield what, grant, counts


def test_a_grant(agent: Caller, user: User, bank: ResourceServer) -> None:
    alive, all_of_them = 0, 0
    for what, grant, counts in grants_in_every_state(agent.agent, user, bank.resource):
        assert Grant.objects.alive(NOW).filter(pk=grant.pk).exists() is counts, what
        spent = spend(grant)
        assert isinstance(spent, Use) is counts, what
        alive, all_of_them = alive + counts, all_of_them + 1
    assert (alive, all_of_them) == (4, 162), "with and without a user, with and without a resource"


@pytest.mark.parametrize("denied", [False, True], ids=["a token", "a token that was revoked"])
def test_a_grant_by_its_token(agent: Caller, user: User, bank: ResourceServer, denied: bool) -> None:
    if denied:
        RevokedToken.objects.create(jti_digest=digest("one"), expires_at=NOW)
    RevokedToken.objects.create(jti_digest=digest("another"), expires_at=NOW)
    for what, grant, counts in grants_in_every_state(agent.agent, user, bank.resource):
        assert isinstance(spend(grant, jti="one"), Use) is (counts and not denied), what


def spend(grant: Grant, jti: str = "") -> Any:
    with transaction.atomic():
        grant.uses_left = None
        return spend_locked(grant, UseCall(grant.pk, grant.operation_digest, None, jti), NOW)


def test_a_request(agent: Caller, user: User) -> None:
    sent = agent.ask(user, authorization_details=[PAYMENT])
    assert sent.status_code == 200
    request = BackchannelRequest.objects.get()
    grant = Grant.objects.create(
        id=new_id(), agent=agent.agent, user=user, operation_digest="d", created_at=NOW, expires_at=NOW
    )
    for status, active, link, granted in product(
        Agent.Status.values,
        [True, False],
        [None, "linked", "stopped"],
        [None, "live", "revoked"],
    ):
        Agent.objects.filter(pk=agent.agent.pk).update(status=status)
        User.objects.filter(pk=user.pk).update(is_active=active)
        AgentLink.objects.filter(agent=agent.agent).delete()
        if link:
            stopped_at = NOW if link == "stopped" else None
            AgentLink.objects.create(agent=agent.agent, user=user, is_linked=True, stopped_at=stopped_at)
        Grant.objects.update(revoked_at=NOW if granted == "revoked" else None)
        BackchannelRequest.objects.update(grant=grant if granted else None)
        counts = status == "active" and active and link != "stopped" and granted != "revoked"
        what = f"agent {status}, user {active}, link {link}, grant {granted}"
        assert is_alive(request) is counts, what
        assert BackchannelRequest.objects.alive().filter(pk=request.pk).exists() is counts, what


def test_it_stays_one_conditional_statement() -> None:
    """A join would move the condition into a subquery, which is not looked at again after a wait (docs/adr/0003)."""
    for query in (living_grants().query, BackchannelRequest.objects.alive().query):
        assert len([table for table, count in query.alias_refcount.items() if count]) == 1
