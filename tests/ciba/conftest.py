"""Agents that are called back, and their endpoint."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from accounts.models import User
from foundation import outbox
from foundation.models import Work
from tests.devices.conftest import device, push_service, vapid_key  # noqa: F401 - fixtures
from tests.support.agent_endpoint import AgentEndpoint
from tests.support.world import Caller, allow_everything, make_caller

TOKEN = "notify-me-0123456789-abcdefghij"


@pytest.fixture
def endpoint(certificates: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[AgentEndpoint]:
    settings.OUTBOUND_CA_FILE = str(certificates / "ca.pem")
    running = AgentEndpoint(certificates)
    settings.OUTBOUND_EXCEPTIONS = [f"127.0.0.1:{running.port}"]
    monkeypatch.setattr(outbox, "NOTIFIERS", [])  # the tests do what is owed themselves
    yield running
    running.stop()


def make_called(mode: str, endpoint: AgentEndpoint, user: User) -> Caller:
    fields = {"backchannel_token_delivery_mode": mode, "backchannel_client_notification_endpoint": endpoint.url}
    return allow_everything(make_caller(mode.capitalize(), **fields), user)


@pytest.fixture
def pinged(agent: Caller, user: User, endpoint: AgentEndpoint) -> Caller:
    return make_called("ping", endpoint, user)


@pytest.fixture
def pushed(agent: Caller, user: User, endpoint: AgentEndpoint) -> Caller:
    return make_called("push", endpoint, user)


def do_due_work() -> list[str]:
    """Does what is due towards agents, and answers what became of it."""
    due = list(
        Work.objects.filter(kind="callback", state="pending").order_by("created_at").values_list("id", flat=True)
    )
    for work_id in due:
        Work.objects.filter(pk=work_id).update(due_at="2020-01-01T00:00:00Z")  # its pause is over
        outbox.do(work_id)
    return [Work.objects.get(pk=work_id).state for work_id in due]
