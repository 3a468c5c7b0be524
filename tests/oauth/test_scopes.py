"""Which scopes a request gets: with unknown ones, with offline_access, and with no scope at all."""

from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from clients.models import CIBA, CLIENT_CREDENTIALS
from oauth.models import AuthorizationRequest, Grant
from operations.models import Resource, Scope
from tests.support.consent import WebAgent, answer, claims_of, form_of, go_to, make_web_agent, query_of
from tests.support.world import Caller, ResourceServer, allow_everything, make_caller, sign_in

pytestmark = pytest.mark.django_db

IGNORED = [
    pytest.param("openid nobody.knows calendar.read", "openid calendar.read", id="a scope that does not exist"),
    pytest.param("nobody.knows openid", "openid", id="the same before openid and alone with it"),
    pytest.param("openid mail.read calendar.read", "openid calendar.read", id="a scope that is another agent's"),
    pytest.param("openid phone address", "openid", id="scopes of OpenID Connect that are not offered"),
    pytest.param("openid profile email", "openid email", id="an identity scope that this agent may not ask for"),
    pytest.param("openid calendar.read offline_access", "openid calendar.read", id="offline_access, no refresh tokens"),
    pytest.param("calendar.read offline_access", "calendar.read", id="the same without openid"),
    pytest.param("openid  calendar.read", "openid calendar.read", id="a second space"),
    pytest.param(" calendar.read", "calendar.read", id="a space before"),
    pytest.param("calendar.read   ", "calendar.read", id="spaces after"),
    pytest.param('openid "quoted" calendar.read', "openid calendar.read", id="a name that no scope can have"),
]  # fmt: skip
REFUSED = [
    pytest.param("nobody.knows calendar.read", id="an unknown scope without openid"),
    pytest.param("profile calendar.read", id="a forbidden identity scope without openid"),
    pytest.param("openid\tcalendar.read", id="a tab, which is no space"),
    pytest.param("openid " + " ".join(f"s{n}" for n in range(30)), id="too many"),
]


@pytest.fixture
def mail(bank: ResourceServer) -> Resource:
    """A second resource, with a routine scope."""
    resource = Resource.objects.create(identifier="https://mail.example.com/mcp", name="Mail")
    Scope.objects.create(resource=resource, name="mail.read", description="Read your mail", risk="routine")
    return resource


def narrow(web: WebAgent) -> WebAgent:
    """May ask for what the bank has, for `openid` and for `email`."""
    web.agent.identity_scopes = ["openid", "email"]
    web.agent.save()
    web.agent.scopes.set(Scope.objects.filter(resource__name="Bank"))
    return web


@pytest.fixture
def short(bank: ResourceServer, mail: Resource, signing: None) -> WebAgent:
    """An agent without refresh tokens."""
    return narrow(make_web_agent("Short", grant_types=["authorization_code"]))


class TestWhatIsIgnored:
    @pytest.mark.parametrize(("requested", "granted"), IGNORED)
    def test_in_the_browser(self, requested: str, granted: str, short: WebAgent, browser_of_user: Client) -> None:
        tokens = short.tokens(browser_of_user, scope=requested)
        assert tokens["scope"] == granted and "refresh_token" not in tokens
        assert claims_of(tokens["access_token"])["scope"] == granted
        assert Grant.objects.get().scopes == granted.split()

    @pytest.mark.parametrize("requested", REFUSED)
    def test_the_rest_is_refused(self, requested: str, short: WebAgent, browser_of_user: Client) -> None:
        response = browser_of_user.get(short.url(scope=requested))
        assert query_of(response["Location"])["error"] == "invalid_scope"
        assert not AuthorizationRequest.objects.exists()

    def test_openid_itself_is_never_ignored(self, short: WebAgent, browser_of_user: Client) -> None:
        short.agent.identity_scopes = ["email"]
        short.agent.save()
        response = browser_of_user.get(short.url(scope="openid email calendar.read"))
        assert query_of(response["Location"])["error"] == "invalid_scope"

    @pytest.mark.parametrize(
        "requested", [case.values[0] for case in IGNORED if str(case.values[0]).startswith("openid")]
    )
    def test_at_bc_authorize(self, requested: str, agent: Caller, mail: Resource, user: User) -> None:
        agent.agent.scopes.set(Scope.objects.filter(resource__name="Bank"))
        agent.agent.identity_scopes = ["openid", "email"]
        agent.agent.save()
        auth_req_id = agent.ask(user, scope=requested).json()["auth_req_id"]
        browser = sign_in(user)
        (prompt,) = browser.get("/v1/prompts").json()["prompts"]
        browser.post(f"/v1/prompts/{prompt['id']}/approve")
        granted = next(case.values[1] for case in IGNORED if case.values[0] == requested)
        assert agent.poll(auth_req_id).json()["scope"] == granted

    @pytest.mark.parametrize("requested", ["calendar.read offline_access", "offline_access calendar.read"])
    def test_offline_access_without_a_user(self, requested: str, agent: Caller) -> None:
        body = agent.client_credentials(scope=requested).json()
        assert body["scope"] == "calendar.read" and "refresh_token" not in body

    def test_offline_access_with_refresh_tokens_is_granted(self, web: WebAgent, browser_of_user: Client) -> None:
        tokens = web.tokens(browser_of_user, scope="openid nobody.knows calendar.read offline_access")
        assert tokens["scope"] == "openid calendar.read offline_access" and tokens["refresh_token"]
        assert web.refresh(tokens["refresh_token"]).json()["scope"] == tokens["scope"]

    def test_remembered_consent_compares_what_is_left(self, short: WebAgent, browser_of_user: Client) -> None:
        short.tokens(browser_of_user, scope="openid calendar.read")
        back = query_of(browser_of_user.get(short.url(scope="openid calendar.read mail.read"))["Location"])
        assert short.exchange(back["code"]).json()["scope"] == "openid calendar.read"
        short.agent.scopes.add(Scope.objects.get(name="mail.read"))
        assert "code" not in query_of(
            browser_of_user.get(short.url(scope="openid mail.read", prompt="none"))["Location"]
        ), "a scope that was ignored then is not consented to now"


class TestNothingIsLeftOfAResource:
    """Beside openid an unknown scope is ignored. If a resource is named for it, the scope is the mistake."""

    UNKNOWN = pytest.mark.parametrize("scope", ["nobody.knows", "mail.read"], ids=["unknown", "another agent's"])

    @UNKNOWN
    def test_in_the_browser(self, scope: str, short: WebAgent, bank: ResourceServer, browser_of_user: Client) -> None:
        url = short.url(scope=f"openid {scope}", resource=bank.resource.identifier)
        reply = query_of(browser_of_user.get(url)["Location"])
        assert (reply["error"], reply["error_description"]) == ("invalid_scope", f"this agent may not ask for {scope}")

    @UNKNOWN
    def test_at_bc_authorize(self, scope: str, agent: Caller, bank: ResourceServer, mail: Resource, user: User) -> None:
        agent.agent.scopes.set(Scope.objects.filter(resource__name="Bank"))
        reply = agent.ask(user, scope=f"openid {scope}", resource=bank.resource.identifier).json()
        assert (reply["error"], reply["error_description"]) == ("invalid_scope", f"this agent may not ask for {scope}")

    @pytest.mark.parametrize("resource", ["https://mail.example.com/mcp", "https://nobody.example.com/"])
    def test_a_resource_that_the_agent_may_not_ask_for(
        self, resource: str, agent: Caller, mail: Resource, user: User
    ) -> None:
        """The same answer for another agent's resource and for an unknown one."""
        agent.agent.scopes.set(Scope.objects.filter(resource__name="Bank"))
        reply = agent.ask(user, scope="openid mail.read", resource=resource).json()
        assert reply["error"] == "invalid_target"

    def test_a_resource_of_which_nothing_is_named(self, agent: Caller, bank: ResourceServer, user: User) -> None:
        assert agent.ask(user, scope="openid", resource=bank.resource.identifier).json()["error"] == "invalid_target"

    def test_beside_a_scope_of_the_resource_it_is_still_ignored(
        self, agent: Caller, bank: ResourceServer, user: User
    ) -> None:
        scope = "openid nobody.knows calendar.read"
        assert agent.ask(user, scope=scope, resource=bank.resource.identifier).status_code == 200


class TestNoScopeInTheBrowser:
    def test_stands_for_all_that_is_routine(self, web: WebAgent, bank: ResourceServer, browser_of_user: Client) -> None:
        Scope.objects.create(resource=bank.resource, name="accounts.read", description="See your accounts")
        web.agent.scopes.set(Scope.objects.all())
        page = go_to(browser_of_user, web.url(scope=None))
        assert form_of(page)["scope"] == ["accounts.read", "calendar.read"]
        html = page.content.decode()
        assert "See your accounts" in html and "Read your calendar" in html
        assert "Close accounts" not in html and "Know which account is yours" not in html
        sent_to = answer(browser_of_user, page, "allow")["Location"]
        tokens = web.exchange(query_of(sent_to)["code"]).json()
        assert tokens["scope"] == "accounts.read calendar.read"
        assert "id_token" not in tokens
        assert claims_of(tokens["access_token"])["aud"] == bank.resource.identifier

    def test_the_resource_may_be_named(self, web: WebAgent, mail: Resource, browser_of_user: Client) -> None:
        web.agent.scopes.set(Scope.objects.all())
        tokens = web.tokens(browser_of_user, scope=None, resource="https://MAIL.example.com:443/mcp")
        assert tokens["scope"] == "mail.read"
        assert claims_of(tokens["access_token"])["aud"] == mail.identifier, "the registered spelling"

    @pytest.mark.parametrize(
        ("scope", "granted"),
        [
            pytest.param("offline_access", "calendar.read offline_access", id="offline_access alone"),
            pytest.param(
                " offline_access", "calendar.read offline_access", id="the same as the MCP Python SDK sends it"
            ),
            pytest.param("openid offline_access", "openid calendar.read offline_access", id="openid beside it"),
            pytest.param("openid email", "openid email calendar.read", id="who the user is"),
            pytest.param(" ", "calendar.read", id="a space alone"),
        ],
    )
    def test_neither_names_one_who_names_no_scope_of_the_resource(
        self, scope: str, granted: str, web: WebAgent, bank: ResourceServer, browser_of_user: Client
    ) -> None:
        tokens = web.tokens(browser_of_user, scope=scope, resource=bank.resource.identifier)
        assert tokens["scope"] == granted
        assert claims_of(tokens["access_token"])["aud"] == bank.resource.identifier

    @pytest.mark.parametrize("scope", ["openid", "openid email", "openid offline_access"])
    def test_a_sign_in_without_a_resource_stays_one(
        self, scope: str, web: WebAgent, bank: ResourceServer, browser_of_user: Client
    ) -> None:
        assert web.tokens(browser_of_user, scope=scope)["scope"] == scope

    @pytest.mark.parametrize(
        ("resource", "risk", "error"),
        [
            pytest.param(None, "routine", "invalid_scope", id="several resources, and none is named"),
            pytest.param("https://other.example.com/", "routine", "invalid_target", id="an unknown resource"),
            pytest.param("https://mail.example.com/", "routine", "invalid_target", id="another path"),
            pytest.param("https://mail.example.com/mcp", "critical", "invalid_scope", id="nothing there is routine"),
        ],
    )
    def test_what_has_no_default(
        self, resource: str | None, risk: str, error: str, web: WebAgent, mail: Resource, browser_of_user: Client
    ) -> None:
        Scope.objects.filter(resource=mail).update(risk=risk)
        web.agent.scopes.set(Scope.objects.all())
        reply = query_of(browser_of_user.get(web.url(scope=None, resource=resource))["Location"])
        assert reply["error"] == error and "scope" in reply["error_description"]
        assert not AuthorizationRequest.objects.exists()

    @pytest.mark.parametrize("what", ["scope", "resource", "the agent's right"])
    def test_what_is_not_active_is_not_in_it(
        self, what: str, web: WebAgent, bank: ResourceServer, mail: Resource, browser_of_user: Client
    ) -> None:
        web.agent.scopes.set(Scope.objects.all())
        if what == "scope":
            Scope.objects.filter(name="mail.read").update(is_active=False)
        elif what == "resource":
            Resource.objects.filter(pk=mail.pk).update(is_active=False)
        else:
            web.agent.scopes.remove(Scope.objects.get(name="mail.read"))
        assert web.tokens(browser_of_user, scope=None)["scope"] == "calendar.read"

    def test_an_empty_list_has_no_default(self, web: WebAgent, browser_of_user: Client) -> None:
        web.agent.scopes.clear()
        reply = query_of(browser_of_user.get(web.url(scope=None))["Location"])
        assert reply["error"] == "invalid_scope"

    def test_remembered_consent_compares_what_it_stands_for(
        self, web: WebAgent, bank: ResourceServer, browser_of_user: Client
    ) -> None:
        web.tokens(browser_of_user, scope=None)
        silent = query_of(browser_of_user.get(web.url(scope=None, prompt="none"))["Location"])
        assert web.exchange(silent["code"]).json()["scope"] == "calendar.read"
        new = Scope.objects.create(resource=bank.resource, name="accounts.read", description="See your accounts")
        web.agent.scopes.add(new)
        silent = query_of(browser_of_user.get(web.url(scope=None, prompt="none"))["Location"])
        assert silent["error"] == "consent_required", "the default has grown"
        assert form_of(go_to(browser_of_user, web.url(scope=None)))["scope"] == ["accounts.read", "calendar.read"]

    def test_the_user_may_untick(self, web: WebAgent, bank: ResourceServer, browser_of_user: Client) -> None:
        Scope.objects.create(resource=bank.resource, name="accounts.read", description="See your accounts")
        web.agent.scopes.set(Scope.objects.all())
        page = go_to(browser_of_user, web.url(scope=None))
        sent_to = answer(browser_of_user, page, "allow", scope=["accounts.read"], offline_access="no")["Location"]
        tokens = web.exchange(query_of(sent_to)["code"]).json()
        assert tokens["scope"] == "accounts.read" and "refresh_token" not in tokens

    def test_refreshing_says_the_scope_too(self, web: WebAgent, browser_of_user: Client) -> None:
        tokens = web.tokens(browser_of_user, scope=None)
        again = web.refresh(tokens["refresh_token"]).json()
        assert again["scope"] == tokens["scope"] == "calendar.read", "offline_access is not in a default"


class TestNoScopeWithoutAUser:
    def test_stands_for_all_that_is_routine(self, agent: Caller, bank: ResourceServer) -> None:
        for named in ({}, {"resource": bank.resource.identifier}, {"resource": "HTTPS://BANK.EXAMPLE.COM"}):
            body = agent.client_credentials(**named).json()
            assert body["scope"] == "calendar.read"
            assert claims_of(body["access_token"])["aud"] == bank.resource.identifier

    @pytest.mark.parametrize(
        ("named", "error"),
        [({}, "invalid_scope"), ({"resource": "https://other.example.com/"}, "invalid_target"),
         ({"resource": "https://bank.example.com/x"}, "invalid_target")],
        ids=["several resources", "an unknown resource", "another path"],
    )  # fmt: skip
    def test_what_has_no_default(self, named: dict[str, str], error: str, agent: Caller, mail: Resource) -> None:
        agent.agent.scopes.set(Scope.objects.all())
        assert agent.client_credentials(**named).json()["error"] == error

    def test_not_beside_an_operation(self, agent: Caller) -> None:
        body = agent.client_credentials(authorization_details=[{"type": "calendar", "day": "2026-11-24"}]).json()
        assert "scope" not in body and "scope" not in claims_of(body["access_token"])

    def test_nothing_that_is_not_routine(self, agent: Caller) -> None:
        Scope.objects.update(risk="sensitive")
        assert agent.client_credentials().json()["error"] == "invalid_scope"


def test_bc_authorize_has_no_default(bank: ResourceServer, signing: None, user: User) -> None:
    caller = allow_everything(make_caller("Asks", grant_types=[CIBA, CLIENT_CREDENTIALS]), user)
    given: dict[str, Any] = {"login_hint": user.email}
    assert caller.post("/bc-authorize", **given).json()["error"] == "invalid_request"
    assert caller.post("/bc-authorize", **given, scope="").json()["error"] == "invalid_request"
    assert caller.post("/bc-authorize", **given, scope="calendar.read").json()["error"] == "invalid_scope"
