"""Every JWT from outside passes one door (foundation/jws.py): at each place a bad header has that place's error."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from joserfc import jws

from accounts.models import User
from ciba.models import HintIssuer
from foundation.handles import b64url
from oauth.tokens.signing_keys import signing_key
from tests.support.consent import WebAgent
from tests.support.keys import Prover, new_key, sign_anything
from tests.support.world import Caller, ResourceServer, post_form, sign_in

pytestmark = pytest.mark.django_db
ISSUER = "http://localhost:8000"
OUTSIDE = "https://hints.example.com"

Header = dict[str, Any]

HEADERS: list[Any] = [
    pytest.param({"crit": 0}, id="crit is a number"),
    pytest.param({"crit": True}, id="crit is true"),
    pytest.param({"crit": []}, id="crit is empty"),
    pytest.param({"crit": ["exp"]}, id="crit names what is not there"),
    pytest.param({"crit": ["alg"]}, id="crit names what is known"),
    pytest.param({"crit": [[0]]}, id="crit is a list of lists"),
    pytest.param({"crit": {"b64": 1}}, id="crit is an object"),
    pytest.param({"kid": []}, id="kid is a list"),
    pytest.param({"kid": {"a": 1}}, id="kid is an object"),
    pytest.param({"typ": 7}, id="typ is a number"),
    pytest.param({"alg": 7}, id="alg is a number"),
    pytest.param({"alg": ["ES256"]}, id="alg is a list"),
    pytest.param({"b64": 0}, id="b64 is a number"),
    pytest.param({"b64": False, "crit": ["b64"]}, id="an unencoded payload"),
]


class Outside:
    """Each place, with JWTs that would count there but for the header."""

    def __init__(self, agent: Caller, web: WebAgent, user: User, bank: ResourceServer) -> None:
        self.agent, self.web, self.user, self.bank = agent, web, user, bank
        hints = new_key("ES256")
        public = {**hints.as_dict(private=False), "kid": hints.kid}
        HintIssuer.objects.create(issuer=OUTSIDE, jwks={"keys": [public]})
        self.hints = hints

    def of_agent(self, header: Header, text: str) -> str:
        claims = jws.extract_compact(text.encode()).payload.decode()
        return sign_anything({"alg": "ES256", "kid": self.agent.key.kid} | header, claims, self.agent.key, "ES256")

    def of_ours(self, header: Header, typ: str, claims: dict[str, Any]) -> str:
        ours = signing_key("ES256", timezone.now())
        return sign_anything({"alg": "ES256", "kid": ours.kid, "typ": typ} | header, claims, ours.key, "ES256")

    def access_token(self, header: Header) -> str:
        token = self.agent.client_credentials(scope="calendar.read").json()["access_token"]
        return self.of_ours(header, "at+jwt", json.loads(jws.extract_compact(token.encode()).payload))

    def id_token(self, header: Header, client_id: str) -> str:
        claims = {"iss": ISSUER, "sub": self.user.sub, "aud": client_id, "exp": int(time.time()) + 60}
        return self.of_ours(header, "JWT", claims)

    def assertion(self, header: Header) -> Any:
        signed = self.of_agent(header, self.agent.assertion())
        return self.agent.client_credentials(scope="calendar.read", client_assertion=signed)

    def request_object(self, header: Header) -> Any:
        return self.agent.post("/bc-authorize", request=self.of_agent(header, self.agent.request_object(self.user)))

    def login_hint_token(self, header: Header) -> Any:
        at = int(time.time())
        subject = {"format": "email", "email": self.user.email}
        claims = {"iss": OUTSIDE, "aud": ISSUER, "iat": at, "exp": at + 60, "sub_id": subject}
        token = sign_anything({"alg": "ES256", "kid": self.hints.kid} | header, claims, self.hints, "ES256")
        return self.agent.ask(login_hint_token=token)

    def id_token_hint(self, header: Header) -> Any:
        return self.agent.ask(id_token_hint=self.id_token(header, self.agent.agent.client_id))

    def id_token_hint_in_the_browser(self, header: Header) -> Any:
        hint = self.id_token(header, self.web.agent.client_id)
        return sign_in(self.user).get("/authorize", self.web.parameters(id_token_hint=hint))

    def id_token_hint_at_logout(self, header: Header) -> Any:
        hint = self.id_token(header, self.web.agent.client_id)
        return sign_in(self.user).get("/oidc/logout", {"id_token_hint": hint})

    def proof(self, header: Header) -> Any:
        prover = Prover(new_key("ES256"))
        self.agent.prover = prover
        form = {"grant_type": "client_credentials", "scope": "calendar.read"}
        self.agent.post("/oauth/token", **form)  # learns a nonce
        self.agent.prover, self.agent.headers = None, {"DPoP": prover.proof(header=header)}
        return self.agent.post("/oauth/token", **form)

    def introspection(self, header: Header) -> Any:
        return self.bank.introspect(self.access_token(header))

    def introspection_by_the_agent(self, header: Header) -> Any:
        return self.agent.post("/oauth/introspect", token=self.access_token(header))

    def uses(self, header: Header) -> Any:
        return self.bank.use(self.access_token(header), b64url(b"x" * 32))

    def userinfo(self, header: Header) -> Any:
        return Client().get("/userinfo", headers={"Authorization": f"Bearer {self.access_token(header)}"})

    def leases(self, header: Header) -> Any:
        headers = {"Authorization": f"Bearer {self.access_token(header)}"}
        return Client().post("/v1/leases", "{}", content_type="application/json", headers=headers)

    def revocation(self, header: Header) -> Any:
        return self.agent.post("/oauth/revoke", token=self.access_token(header))

    def revocation_by_a_public_client(self, header: Header) -> Any:
        form = {"client_id": self.web.agent.client_id, "token": self.access_token(header)}
        return post_form(Client(), "/oauth/revoke", form)


@pytest.fixture
def outside(agent: Caller, web: WebAgent, user: User, bank: ResourceServer) -> Outside:
    return Outside(agent, web, user, bank)


PLACES: dict[str, Callable[[Any], bool]] = {
    "assertion": lambda r: r.status_code == 401 and r.json()["error"] == "invalid_client",
    "request_object": lambda r: r.status_code == 400 and r.json()["error"] == "invalid_request",
    "login_hint_token": lambda r: r.status_code == 400 and r.json()["error"] == "invalid_request",
    "id_token_hint": lambda r: r.status_code == 400 and r.json()["error"] in ("invalid_request", "unknown_user_id"),
    "id_token_hint_in_the_browser": lambda r: r.status_code == 303 and "error=invalid_request" in r["Location"],
    "id_token_hint_at_logout": lambda r: r.status_code == 200 and b"<form" in r.content,  # asked, and not believed
    "proof": lambda r: r.status_code == 400 and r.json()["error"] == "invalid_dpop_proof",
    "introspection": lambda r: r.json() == {"active": False},
    "introspection_by_the_agent": lambda r: r.json() == {"active": False},
    "uses": lambda r: r.status_code == 400 and r.json()["error"] == "invalid_token",
    "userinfo": lambda r: r.status_code == 401 and r.json()["error"] == "invalid_token",
    "leases": lambda r: r.status_code == 401 and r.json()["error"] == "invalid_token",
    "revocation": lambda r: r.status_code == 200,
    "revocation_by_a_public_client": lambda r: r.status_code in (200, 401),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("header", HEADERS)
def test_a_bad_header_is_that_places_error(outside: Outside, place: str, header: Header) -> None:
    response = getattr(outside, place)(header)
    assert PLACES[place](response), (response.status_code, response.content)


@pytest.mark.parametrize("place", ["assertion", "request_object", "login_hint_token", "id_token_hint", "proof"])
def test_a_good_one_counts(outside: Outside, place: str) -> None:
    """Else the table above would hold for any JWT. Members that nobody knows are ignored (RFC 7515 4)."""
    assert getattr(outside, place)({"x-trace": [1]}).status_code == 200


def test_a_good_access_token_counts(outside: Outside) -> None:
    assert outside.introspection({"x-trace": [1]}).json()["active"] is True
    assert outside.introspection_by_the_agent({}).json()["active"] is True
