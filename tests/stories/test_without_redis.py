"""Redis stopped, then hung: nothing that matters notices."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from authserver.servers import redis
from ciba import lifecycle
from ciba.models import BackchannelRequest, Prompt
from foundation import pacing
from tests.world import PAYMENT, Caller

pytestmark = pytest.mark.django_db(transaction=True)
MOST = 1.0  # seconds more than without trouble, which is a few hundredths


@pytest.fixture
def own_redis(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[redis.Embedded]:
    """A Redis of this test alone, which it may mistreat."""
    server = redis.start(tmp_path)
    settings.REDIS_URL = server.url
    monkeypatch.setattr(pacing, "_pacing", None)
    give_up = time.monotonic() + 10
    while not pacing.Pacing(server.url).reachable():
        assert time.monotonic() < give_up
    yield server
    if server.process.is_running:
        os.kill(server.process.popen.pid, signal.SIGCONT)
    server.process.stop()


def make_trouble(server: redis.Embedded, trouble: str) -> None:
    assert server.process.popen is not None
    if trouble == "hung":
        os.kill(server.process.popen.pid, signal.SIGSTOP)
    else:
        server.process.stop()


def timed(call: Any, *arguments: Any, **keywords: Any) -> Any:
    began = time.monotonic()
    answer = call(*arguments, **keywords)
    assert time.monotonic() - began < MOST
    return answer


@pytest.mark.parametrize("trouble", ["stopped", "hung"])
def test_approving_denying_redeeming_and_expiring_still_work(
    trouble: str, own_redis: redis.Embedded, agent: Caller, person: User, browser_of_person: Client
) -> None:
    agent.client_credentials(scope="calendar.read")  # everything is loaded
    make_trouble(own_redis, trouble)

    yes = timed(agent.ask, person, authorization_details=[PAYMENT]).json()["auth_req_id"]
    assert timed(agent.poll, yes).json()["error"] == "authorization_pending"
    assert timed(agent.poll, yes).json()["error"] == "slow_down", "paced by this process meanwhile"
    prompt = Prompt.objects.get()
    assert timed(browser_of_person.post, f"/v1/prompts/{prompt.id}/approve").status_code == 200
    assert timed(agent.poll, yes).status_code == 200

    no = timed(agent.ask, person, authorization_details=[PAYMENT]).json()["auth_req_id"]
    prompt = Prompt.objects.get(answer="")
    assert timed(browser_of_person.post, f"/v1/prompts/{prompt.id}/deny").status_code == 200
    assert timed(agent.poll, no).json()["error"] == "access_denied"

    late = timed(agent.ask, person, authorization_details=[PAYMENT], requested_expiry="1").json()["auth_req_id"]
    request = BackchannelRequest.objects.get(state="pending")
    assert timed(lifecycle.expire_due, request.expires_at, 10) == 1
    assert timed(agent.poll, late).json()["error"] == "expired_token"
    health = timed(Client().get, "/readyz")
    assert health.status_code == 200
    assert health.json()["redis"].startswith("unreachable")
