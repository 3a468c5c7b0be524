"""Redis stopped, then hung: nothing that matters notices."""

import time
from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from ciba import lifecycle
from ciba.models import BackchannelRequest, Prompt
from tests.support.own_redis import OwnRedis
from tests.support.world import PAYMENT, Caller

pytestmark = pytest.mark.django_db(transaction=True)
MAX = 20.0  # seconds on a busy machine; whoever waits for a Redis that hangs, waits for ever


def timed(call: Any, *arguments: Any, **keywords: Any) -> Any:
    began = time.monotonic()
    answer = call(*arguments, **keywords)
    assert time.monotonic() - began < MAX
    return answer


@pytest.mark.parametrize("trouble", ["stopped", "hung"])
def test_approving_denying_redeeming_and_expiring_still_work(
    trouble: str, own_redis: OwnRedis, agent: Caller, user: User, browser_of_user: Client
) -> None:
    agent.client_credentials(scope="calendar.read")  # everything is loaded
    own_redis.make_trouble(trouble)

    yes = timed(agent.ask, user, authorization_details=[PAYMENT]).json()["auth_req_id"]
    assert timed(agent.poll, yes).json()["error"] == "authorization_pending"
    assert timed(agent.poll, yes).json()["error"] == "slow_down", "paced by this process meanwhile"
    prompt = Prompt.objects.get()
    assert timed(browser_of_user.post, f"/v1/prompts/{prompt.id}/approve").status_code == 200
    assert timed(agent.poll, yes).status_code == 200

    no = timed(agent.ask, user, authorization_details=[PAYMENT]).json()["auth_req_id"]
    prompt = Prompt.objects.get(answer="")
    assert timed(browser_of_user.post, f"/v1/prompts/{prompt.id}/deny").status_code == 200
    assert timed(agent.poll, no).json()["error"] == "access_denied"

    late = timed(agent.ask, user, authorization_details=[PAYMENT], requested_expiry="1").json()["auth_req_id"]
    request = BackchannelRequest.objects.get(state="pending")
    assert timed(lifecycle.expire_due, request.expires_at, 10) == 1
    assert timed(agent.poll, late).json()["error"] == "expired_token"
    health = timed(Client().get, "/readyz")
    assert health.status_code == 200
    assert health.json()["redis"].startswith("unreachable")
