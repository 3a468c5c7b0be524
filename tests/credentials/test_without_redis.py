"""Redis stopped, then hung: Countersign still issues, renews and revokes accounts, and no call is late."""

import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import User
from credentials.models import Lease, Role
from tests.patience import PATIENCE
from tests.support.leases import Holder, can_log_in
from tests.support.own_redis import OwnRedis
from tests.support.sweeper import sweeper
from tests.support.systems import PostgresServer
from tests.support.world import sign_in

pytestmark = pytest.mark.django_db(transaction=True)
ROOT = Path(__file__).resolve().parent.parent.parent
MAX = 20.0  # seconds of one call on a busy machine; whoever waits for a Redis that hangs, waits for ever


def timed(call: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
    began = time.monotonic()
    answer = call(*arguments, **keywords)
    assert time.monotonic() - began < MAX
    return answer


def wait_until_revoked(lease: Lease) -> None:
    give_up = time.monotonic() + PATIENCE
    while lease.state != "revoked":
        assert time.monotonic() < give_up, (lease.state, lease.problem)
        time.sleep(0.1)
        lease.refresh_from_db()


@pytest.mark.parametrize("trouble", ["stopped", "hung"])
def test_a_leases_whole_life(
    trouble: str, own_redis: OwnRedis, holder: Holder, role: Role, postgres_server: PostgresServer, administrator: User
) -> None:
    holder.revoke(holder.issue_lease(role)["lease"]["lease_id"])  # everything is loaded
    browser = sign_in(administrator)
    own_redis.make_trouble(trouble)

    # Requested, renewed, revoked.
    token = timed(holder.routine_token)
    issued = timed(holder.request_lease, holder.approved_token(role), role.name).json()
    assert can_log_in(postgres_server, issued)
    path = f"/v1/leases/{issued['lease']['lease_id']}"
    renewed = timed(holder.call, "POST", f"{path}/renew", token, {"lifetime": 1200})
    assert renewed.status_code == 200 and renewed.json()["expires_at"] > issued["lease"]["expires_at"]
    assert timed(holder.call, "POST", f"{path}/revoke", token).json()["state"] == "revoked"
    assert not can_log_in(postgres_server, issued)

    # Its time is up: the sweeper alone.
    issued = timed(holder.request_lease, holder.approved_token(role), role.name).json()
    lease = Lease.objects.get(pk=issued["lease"]["lease_id"])
    with sweeper(REDIS_URL=own_redis.url):
        time.sleep(0.1)
        assert can_log_in(postgres_server, issued)
        Lease.objects.filter(pk=lease.pk).update(expires_at=timezone.now() + timedelta(seconds=0.2))
        wait_until_revoked(lease)
    assert lease.end_reason == "expired" and not can_log_in(postgres_server, issued)

    assert timed(Client().get, "/readyz").json()["redis"].startswith("unreachable")

    # The kill switch, last: the agent is suspended.
    issued = timed(holder.request_lease, holder.approved_token(role), role.name).json()
    page = timed(browser.post, f"/admin/clients/agent/{holder.caller.agent.pk}/stop/", follow=True)
    assert "confirmed gone" in page.content.decode()
    assert not can_log_in(postgres_server, issued)
    assert set(Lease.objects.values_list("state", flat=True)) == {"revoked"}
