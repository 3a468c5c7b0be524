"""export_config: the same file again after it was applied to an empty database, and never a secret."""

from pathlib import Path

import pytest
from django.contrib.auth.models import Group, Permission
from django.utils import timezone

from accounts.models import User
from audit.record import SYSTEM, About
from authserver.configuration.document import read_document
from authserver.configuration.sections import SECTIONS
from ciba.models import HintIssuer
from clients import lifecycle as agents
from clients.models import Agent
from credentials.backends import lifecycle as backends
from credentials.backends.secrets import find_own_resource, target_of
from credentials.models import Backend, Role
from operations.models import OperationType, OperationTypeVersion, Resource, Scope
from tests.conftest import clean_as_owner
from tests.support.configuration import apply, export
from tests.support.leases import Holder, make_backend, make_role
from tests.support.systems import PostgresServer
from tests.support.world import Caller, make_caller, make_type, make_user

SECRET = "the first secret"
ABOUT = About(SYSTEM)


@pytest.fixture
def everything(holder: Holder, other_agent: Caller, administrator: User, postgres_server: PostgresServer) -> None:
    """Objects of each section, with and without their optional fields, active and not."""
    now = timezone.now()
    make_caller("Night Reporter", "EdDSA", user=make_user("owner@example.com"), max_leases=3)
    agents.suspend(other_agent.agent, administrator, now)
    group = Group.objects.create(name="Prüfer: no")
    group.permissions.set(Permission.objects.filter(codename__in=["view_agent", "change_lease"]))
    holder.caller.agent.groups.add(group)
    gone = Resource.objects.create(identifier="urn:example:gone", name="yes", is_active=False)
    Scope.objects.create(resource=gone, name="1e5", description="2026-01-01", risk="routine", is_active=False)
    meaning = {"type": "object", "additionalProperties": False, "properties": {
        "a": {"type": "number", "minimum": 0.5, "maximum": 1e15, "multipleOf": 1e-05, "enum": [1.0, 2]},
        "b": {"type": "string", "enum": ["no", "null", "~", "", "1", "0x1F", "1_000", "12:30", "1e5", "- a", "# b",
                                         "a: b", "ü\u2028\U0001f600", "line\nline", " space "]},
    }}  # fmt: skip
    kind = make_type(gone, "https://gone.example/types?a=1", meaning, title="Gone", lifetime=60)
    OperationType.objects.filter(pk=kind.pk).update(is_active=False)
    backend = make_backend(postgres_server.system("lease_admin"), "second", max_leases=7)
    make_role(backend, "second-role", {"groups": ["orders_reader"]}, max_lifetime=900, is_active=False)
    backends.drain(backend, ABOUT, now)
    jwks = {"keys": [make_caller("Key").agent.client_jwks["keys"][0]]}
    HintIssuer.objects.create(issuer="https://a.example/", algorithms=["PS256", "ES256"], jwks=jwks, is_active=False)


@pytest.mark.django_db(transaction=True)
def test_the_same_after_it_was_applied_to_an_empty_database(
    everything: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported = export()
    for name, section in SECTIONS.items():
        assert len(section.read_stored()) >= 1, name
    clean_as_owner(None)  # type: ignore[arg-type]  # as after each test
    assert export().count("[]") == len(SECTIONS)
    make_user("owner@example.com")  # users are not in the file
    for name in ("ORDERS", "SECOND"):
        monkeypatch.setenv(f"CONFIG_SECRET_BACKEND_{name}", SECRET)
    outcome = apply(tmp_path, exported, "--yes")
    assert outcome.code == 0, outcome
    assert export() == exported
    assert apply(tmp_path, exported, "--check", "--prune").code == 0
    assert {target_of(one).secret for one in Backend.objects.all()} == {SECRET}
    assert Backend.objects.get(name="orders").status == "enabled", "its preflight passed"
    assert find_own_resource() is not None


@pytest.mark.django_db
class TestAnExport:
    def test_applies_to_its_own_database_without_a_difference(self, everything: None, tmp_path: Path) -> None:
        outcome = apply(tmp_path, export(), "--check", "--prune")
        assert outcome.code == 0, outcome

    def test_has_no_secret_and_nothing_that_countersign_writes_itself(self, everything: None) -> None:
        text = export()
        assert SECRET not in text and '"d"' not in text and "    d:" not in text
        document = read_document(text.encode())
        assert "leases" not in document.objects["scopes"]
        assert not any(name.startswith("credential:") for name in document.objects["operation_types"])
        assert not any("/v1" in identifier for identifier in document.objects["resources"])

    def test_is_the_same_in_any_order_of_the_rows(self, everything: None) -> None:
        before = export()
        for model in (Resource, Scope, OperationType, Group, Backend, Role, Agent, HintIssuer):
            for row in model._default_manager.order_by("-pk"):
                row.save()
        assert export() == before

    def test_describes_the_newest_version(self, everything: None) -> None:
        kind = OperationType.objects.get(name="payment")
        older = OperationTypeVersion.objects.get(operation_type=kind)
        make_type(kind.resource, "other", older.schema)
        assert read_document(export().encode()).objects["operation_types"]["payment"]["title"] == older.title


@pytest.mark.django_db
def test_of_an_empty_database_is_a_file_too(tmp_path: Path) -> None:
    assert apply(tmp_path, export(), "--check", "--prune").text == "No difference.\n"
