"""The demo's seed: run at each start, it makes what is missing and leaves the rest as it is."""

from pathlib import Path

import pytest
from django.conf import settings
from django.utils import timezone

from accounts.models import User
from audit.models import Event
from authserver import demo
from authserver.configuration.yaml_format import dump
from authserver.management.commands import seed_demo
from clients import lifecycle as agents
from clients.models import Agent, AgentLink
from operations.models import OperationType, Resource, Scope
from tests.support.configuration import apply

pytestmark = pytest.mark.django_db


def seed(folder: Path) -> list[str]:
    said: list[str] = []
    seed_demo.seed(folder, timezone.now(), said.append)
    return said


def test_an_administrators_changes_stay(tmp_path: Path) -> None:
    assert len(seed(tmp_path)) == 2, "two passwords, shown once"
    assistant = Agent.objects.get(name="Assistant")
    assert {scope.name for scope in assistant.scopes.all()} >= {"calendar.read", "payments.read"}
    user, administrator = User.objects.get(email="demo@example.com"), User.objects.get(email="admin@example.com")
    assistant.scopes.clear()
    agents.unlink(assistant, user, administrator, timezone.now())
    (hint,) = seed(tmp_path)
    assert "the first start printed" in hint and "DEMO_PASSWORD=" in hint, "how to get in again"
    assert not assistant.scopes.exists()
    assert not AgentLink.objects.get(agent=assistant, user=user).is_linked


def test_the_configuration_is_that_of_its_file(tmp_path: Path) -> None:
    seed(tmp_path)
    content = {**demo.configuration(), "credential_roles": []}  # the backend is not there
    port = settings.PORT + 1
    text = dump(content).replace("http://localhost:8001/", f"http://localhost:{port}/")
    outcome = apply(tmp_path, text, "--check", "--prune")
    assert outcome.code == 0 and outcome.text.count(": unchanged") == 7, outcome
    assert set(Event.objects.filter(kind="scope.changed").values_list("actor", flat=True)) == {"config:demo.yaml"}


def test_another_port_moves_scopes_and_types(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seed(tmp_path)
    monkeypatch.setenv("DEMO_API_PORT", "9876")
    seed(tmp_path)
    moved = Resource.objects.get(identifier="http://localhost:9876/")
    assert Scope.objects.filter(resource=moved).count() == 2
    assert OperationType.objects.filter(resource=moved, current__number=1).count() == 4, "and no new version"
    assistant = Agent.objects.get(name="Assistant")
    assert assistant.scopes.count() == 2 and assistant.operation_types.count() == 4


def test_a_password_of_the_environment_is_set_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seed(tmp_path)
    monkeypatch.setenv("DEMO_PASSWORD", "a new password")
    said = seed(tmp_path)
    assert [line.split()[3] for line in said] == ["demo@example.com", "admin@example.com"]
    assert User.objects.get(email="demo@example.com").check_password("a new password")
    assert not any("printed" in line for line in seed(tmp_path)), "who gave a password needs no other"


def test_an_interrupted_one_leaves_nothing_half_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(agents, "link", interrupted)
        with pytest.raises(KeyboardInterrupt):
            seed(tmp_path)
    assert not User.objects.exists() and not Agent.objects.exists()
    assert len(seed(tmp_path)) == 2
    assert AgentLink.objects.get().is_linked


def test_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    seed(tmp_path)
    files = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert files == {"api.json": 0o600, "assistant.json": 0o600, "night-reporter.json": 0o600}
