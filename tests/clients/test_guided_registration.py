"""The guided registration of an agent, and what its builder is given."""

import json
import shlex
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission
from django.test import Client

from accounts.models import User
from audit.models import Event
from clients.agent_kinds import KINDS
from clients.models import Agent, AgentSecret
from foundation.handles import digest
from tests.support.world import Caller, ResourceServer, make_user, new_key, sign_in

REGISTER = "/admin/clients/agent/register/"


@pytest.fixture
def admin(administrator: User) -> Client:
    return sign_in(administrator)


def public_jwk(**more: Any) -> str:
    return json.dumps({**new_key("ES256").as_dict(private=False), **more})


def register(admin: Client, kind: str, **form: Any) -> Any:
    return admin.post(f"{REGISTER}?kind={kind}", {"name": "Helper", **form}, follow=True)


def environment_of(response: Any) -> dict[str, str]:
    """As a shell reads it."""
    return dict(line.split("=", 1) for line in shlex.split(response.context["environment"]))


def test_the_first_page_offers_every_kind(admin: Client) -> None:
    page = admin.get(REGISTER).content.decode()
    for kind in KINDS.values():
        assert f"?kind={kind.name}" in page
        assert kind.title in page


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("server", {"name", "credential", "public_key", "scopes", "operation_types", "users"}),
        ("script", {"name", "owner", "credential", "public_key", "scopes", "operation_types"}),
        ("desktop", {"name", "redirect_uris", "scopes", "operation_types"}),
        ("mcp", {"name", "redirect_uris", "scopes", "operation_types"}),
    ],
)
def test_a_kind_shows_only_its_own_fields(admin: Client, kind: str, fields: set[str]) -> None:
    assert set(admin.get(f"{REGISTER}?kind={kind}").context["form"].fields) == fields


def test_a_service_with_a_key(admin: Client, bank: ResourceServer, user: User, payment_type: Any) -> None:
    group = Group.objects.create(name="Finance")
    scope = bank.resource.scopes.get(name="calendar.read")
    response = register(
        admin, "server", credential="own", public_key=public_jwk(kid="k1"), scopes=[scope.pk],
        operation_types=[payment_type.pk], users=user.email.upper(), groups=[group.pk],
    )  # fmt: skip
    agent = Agent.objects.get(name="Helper")
    assert "no-store" in response["Cache-Control"]
    assert agent.token_endpoint_auth_method == "private_key_jwt"
    assert [key["kid"] for key in agent.client_jwks["keys"]] == ["k1"]
    assert list(agent.scopes.all()) == [scope]
    assert list(agent.operation_types.all()) == [payment_type]
    assert list(agent.groups.all()) == [group]
    assert agent.links.get().user == user
    kinds = Event.objects.filter(client_id=agent.client_id).values_list("kind", flat=True)
    assert sorted(kinds) == ["agent.linked", "agent.registered"]
    assert response.context["missing"] == []
    assert environment_of(response) == {
        "COUNTERSIGN_ISSUER": response.context["issuer"],
        "COUNTERSIGN_CLIENT_ID": agent.client_id,
        "COUNTERSIGN_KEY_FILE": "agent-key.json",
        "COUNTERSIGN_SCOPE": "calendar.read",
        "COUNTERSIGN_ROUTINE_SCOPE": "calendar.read",
        "COUNTERSIGN_USER": user.email,
    }


def test_a_secret_is_shown_once(admin: Client, bank: ResourceServer, user: User) -> None:
    scope = bank.resource.scopes.get(name="calendar.read")
    response = register(admin, "script", credential="secret", owner=user.email, scopes=[scope.pk])
    agent = Agent.objects.get(name="Helper")
    secret = environment_of(response)["COUNTERSIGN_CLIENT_SECRET"]
    assert bytes(AgentSecret.objects.get().secret_digest) == digest(secret)
    assert agent.user == user
    assert shlex.split(response.context["curl"])[2] == f"{agent.client_id}:{secret}"
    again = admin.get(f"/admin/clients/agent/{agent.pk}/handover/")
    assert secret not in again.content.decode()
    assert environment_of(again)["COUNTERSIGN_CLIENT_SECRET"] == ""


def test_a_desktop_tool_has_no_credential_and_keeps_its_loopback_address(admin: Client) -> None:
    response = register(
        admin, "desktop", redirect_uris="http://127.0.0.1/callback", credential="secret", users="x@example.com"
    )
    agent = Agent.objects.get(name="Helper")
    assert (agent.token_endpoint_auth_method, agent.application_type) == ("none", "native")
    assert set(agent.grant_types) == {"authorization_code", "refresh_token"}
    assert not agent.secrets.exists()
    assert "code_challenge" in response.context["program"]


@pytest.mark.parametrize(
    ("kind", "form", "field", "text"),
    [
        ("server", {"credential": "own"}, "public_key", "Paste its public key"),
        ("server", {"credential": "own", "public_key": "-----BEGIN"}, "public_key", "cut off"),
        ("server", {"credential": "own", "public_key": '{"keys": []}'}, "public_key", "must have 1 to"),
        ("server", {"credential": "own", "public_key": "private"}, "public_key", "the key is private"),
        ("server", {"credential": "secret", "users": "nobody@example.com"}, "users", "nobody@example.com"),
        ("server", {"credential": "secret", "users": "a@example.com " * 101}, "users", "At most 100"),
        ("server", {"credential": "secret", "name": " "}, "name", "required"),
        ("server", {"credential": "none"}, "credential", "valid choice"),
        ("script", {"credential": "secret", "owner": "nobody@example.com"}, "owner", "nobody@example.com"),
        ("script", {"credential": "secret"}, "owner", "required"),
        ("desktop", {"redirect_uris": "http://app.example.com/"}, "redirect_uris", "http://app.example.com/"),
        ("desktop", {}, "redirect_uris", "required"),
    ],
)  # fmt: skip
def test_a_problem_is_shown_at_its_field_and_nothing_is_registered(
    admin: Client, kind: str, form: dict[str, Any], field: str, text: str
) -> None:
    if form.get("public_key") == "private":
        form = form | {"public_key": json.dumps(new_key("ES256").as_dict(private=True))}
    response = register(admin, kind, **form)
    assert response.status_code == 200
    assert text in str(response.context["form"].errors[field])
    assert not Agent.objects.filter(token_endpoint_auth_method__isnull=False, name="Helper").exists()
    assert not Event.objects.filter(kind__startswith="agent.").exists()


def test_an_inactive_user_is_no_one(admin: Client, user: User) -> None:
    User.objects.filter(pk=user.pk).update(is_active=False)
    response = register(admin, "server", credential="secret", users=user.email)
    assert user.email in str(response.context["form"].errors["users"])


def test_inactive_scopes_and_types_are_not_offered(admin: Client, bank: ResourceServer, payment_type: Any) -> None:
    bank.resource.scopes.filter(name="calendar.read").update(is_active=False)
    type(payment_type).objects.filter(pk=payment_type.pk).update(is_active=False)
    page = admin.get(f"{REGISTER}?kind=server").content.decode()
    assert "calendar.read" not in page
    assert "accounts.close" in page
    scope = bank.resource.scopes.get(name="calendar.read")
    response = register(admin, "server", credential="secret", scopes=[scope.pk], operation_types=[payment_type.pk])
    assert set(response.context["form"].errors) == {"scopes", "operation_types"}


def test_what_an_agent_lacks_is_said(admin: Client) -> None:
    response = register(admin, "server", credential="own", public_key=public_jwk())
    assert response.context["missing"] == [
        "It may ask for nothing: choose scopes or operations.",
        "It may ask nobody: choose users, a group or an owner.",
    ]
    agent = Agent.objects.get(name="Helper")
    page = admin.get(f"/admin/clients/agent/{agent.pk}/change/").content.decode()
    assert "It may ask nobody" in page


def test_only_staff_who_may_add_agents_register_one(user: User, agent: Caller) -> None:
    handover = f"/admin/clients/agent/{agent.agent.pk}/handover/"
    staff = make_user("staff@example.com", is_staff=True)
    for browser, expected in ((Client(), 302), (sign_in(user), 302), (sign_in(staff), 403)):
        for address in (REGISTER, f"{REGISTER}?kind=server", handover):
            assert browser.get(address).status_code in (expected, 403), (address, expected)
        assert browser.post(f"{REGISTER}?kind=server", {"name": "Helper"}).status_code in (expected, 403)
    assert not Agent.objects.filter(name="Helper").exists()
    staff.user_permissions.add(Permission.objects.get(codename="view_agent"))
    viewer = sign_in(staff)
    assert viewer.get(handover).status_code == 200
    assert viewer.get(REGISTER).status_code == 403


def test_a_name_cannot_change_the_environment_file(admin: Client) -> None:
    user = make_user("o'brien+$home@example.com")
    response = register(admin, "script", credential="secret", owner=user.email, name="$(id) `x` '; rm")
    assert environment_of(response)["COUNTERSIGN_USER"] == user.email
    assert "$(id) `x`" not in response.context["environment"] + response.context["program"]


def test_an_unknown_kind_shows_the_kinds(admin: Client) -> None:
    response = admin.get(f"{REGISTER}?kind=<script>")
    assert response.status_code == 200
    assert "form" not in response.context
    assert admin.get("/admin/clients/agent/999999/handover/").status_code == 404


def test_groups_are_offered_where_there_are_some(admin: Client) -> None:
    Group.objects.create(name="Finance")
    assert "groups" in admin.get(f"{REGISTER}?kind=server").context["form"].fields


def test_an_agent_that_uses_ciba_may_ask_for_openid(admin: Client) -> None:
    """The full form adds the scope, and says so."""
    form = {"name": "Full", "profile": "ciba", "grant_types": ["urn:openid:params:grant-type:ciba"],
            "token_endpoint_auth_method": "client_secret_basic", "assertion_audience": "any",
            "id_token_signed_response_alg": "ES256", "backchannel_token_delivery_mode": "poll"}  # fmt: skip
    response = admin.post("/admin/clients/agent/add/", form, follow=True)
    assert "The scope openid was added" in response.content.decode()
    agent = Agent.objects.get(name="Full")
    assert agent.identity_scopes == ["openid"]
    form = form | {"grant_types": ["client_credentials"], "name": "Routine"}
    admin.post("/admin/clients/agent/add/", form)
    assert Agent.objects.get(name="Routine").identity_scopes == []
    admin.post(f"/admin/clients/agent/{agent.pk}/change/", form | {"name": "Full", "grant_types": form["grant_types"]})
    admin.post(
        f"/admin/clients/agent/{agent.pk}/change/",
        form | {"name": "Full", "grant_types": ["urn:openid:params:grant-type:ciba"]},
    )
    agent.refresh_from_db()
    assert agent.identity_scopes == ["openid"]


@pytest.mark.parametrize(
    ("fields", "has_program"),
    [({}, True), ({"grant_types": ["client_credentials"]}, False),
     ({"token_endpoint_auth_method": "self_signed_tls_client_auth"}, False)],
)  # fmt: skip
def test_a_program_is_offered_only_if_it_works(
    admin: Client, agent: Caller, fields: dict[str, Any], has_program: bool
) -> None:
    Agent.objects.filter(pk=agent.agent.pk).update(**fields)
    page = admin.get(f"/admin/clients/agent/{agent.agent.pk}/handover/")
    assert bool(page.context["program"]) == has_program


def test_none_is_offered_for_a_key_that_the_program_does_not_use(admin: Client) -> None:
    page = register(admin, "server", credential="own", public_key=json.dumps(new_key("PS256").as_dict(private=False)))
    assert page.context["program"] is None


def test_a_reload_registers_no_second_agent(admin: Client) -> None:
    answer = admin.post(f"{REGISTER}?kind=server", {"name": "Helper", "credential": "own", "public_key": public_jwk()})
    agent = Agent.objects.get(name="Helper")
    assert answer.headers["Location"] == f"/admin/clients/agent/{agent.pk}/handover/"


def test_the_event_names_the_fields_of_the_agent(admin: Client) -> None:
    register(admin, "desktop", redirect_uris="http://127.0.0.1/callback")
    event = Event.objects.get(kind="agent.registered")
    assert json.loads(event.body)["facts"]["changed"] == ["grant_types", "name", "redirect_uris"]
