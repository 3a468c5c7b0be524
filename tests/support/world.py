"""The domain's fixtures: people, a resource, operation types, and agents that speak the real protocol."""

import functools
import json
import secrets
import time
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import pytest
from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.test import Client
from django.utils import timezone
from joserfc import jws

from accounts.models import User
from audit.record import SYSTEM, About
from clients.models import CIBA, CLIENT_CREDENTIALS, Agent, AgentLink
from foundation.canonical import operation_digest
from oauth.models import SigningKey
from oauth.tokens import signing_keys
from operations.lifecycle import issue_resource_secret, put_version
from operations.models import OperationType, Resource, Scope
from tests.support.keys import Prover, new_key

PASSWORD = "correct horse battery staple"
JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
FORM = "application/x-www-form-urlencoded"

PAYMENT_SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["amount", "currency", "creditor"],
    "properties": {
        "amount": {"type": "string", "pattern": r"^[0-9]{1,9}\.[0-9]{2}$"},
        "currency": {"type": "string", "pattern": "^[A-Z]{3}$"},
        "creditor": {"type": "string", "minLength": 1, "maxLength": 70},
        "reference": {"type": "string", "maxLength": 140},
    },
}
CALENDAR_SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["day"],
    "properties": {"day": {"type": "string", "format": "date", "maxLength": 10}},
}
PAYMENT = {"type": "payment", "amount": "120.00", "currency": "EUR", "creditor": "Acme GmbH"}
CALENDAR = {"type": "calendar", "day": "2026-11-24"}


def post_form(http: Client, path: str, form: dict[str, str], **headers: str) -> Any:
    return http.post(path, urlencode(form), content_type=FORM, headers=headers)


@dataclass(frozen=True)
class FromNow:
    """A time claim, resolved when the JWT is signed: cases of tests are collected long before they run."""

    seconds: int


def _resolved(claims: dict[str, Any]) -> dict[str, Any]:
    """Without what is None, and with times as numbers."""
    at = int(time.time())
    times = {name: at + value.seconds if isinstance(value, FromNow) else value for name, value in claims.items()}
    return {name: value for name, value in times.items() if value is not None}


def proved(prover: Prover | None, send: Callable[..., Any]) -> Any:
    """What `send` answers with a proof in its headers: a second time where the server gives a nonce."""
    if prover is None:
        return send()
    response = send(DPoP=prover.proof())
    return send(DPoP=prover.proof()) if prover.learn(response) else response


@dataclass
class Caller:
    """An agent with its private key, calling our endpoints as a client on the network would."""

    agent: Agent
    key: Any
    algorithm: str = "ES256"
    http: Client = field(default_factory=Client)
    prover: Prover | None = None  # sends a DPoP proof with each token request
    headers: dict[str, str] = field(default_factory=dict)  # sent with each request

    def assertion(self, audience: str | None = None, **claims: Any) -> str:
        """A private_key_jwt assertion; a claim given as None is left out."""
        body = {
            "iss": self.agent.client_id,
            "sub": self.agent.client_id,
            "aud": audience or settings.ISSUER_URL,
            "jti": secrets.token_hex(16),
            "iat": int(time.time()),
            "exp": int(time.time()) + 60,
            **claims,
        }
        header = {"alg": self.algorithm, "kid": self.key.kid}
        payload = json.dumps(_resolved(body))
        return jws.serialize_compact(header, payload, self.key, algorithms=[self.algorithm])

    def request_object(self, user: User | None = None, *, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """A signed request (CIBA Core 7.1.1); a claim given as None is left out."""
        at = int(time.time())
        body = {
            "iss": self.agent.client_id, "aud": settings.ISSUER_URL, "jti": secrets.token_hex(16),
            "iat": at, "nbf": at, "exp": at + 60, "scope": "openid",
            "login_hint": user.email if user else None, **claims,
        }  # fmt: skip
        payload = json.dumps(_resolved(body))
        protected = {"alg": self.algorithm, "kid": self.key.kid, **(header or {})}
        return jws.serialize_compact(protected, payload, self.key, algorithms=[self.algorithm])

    def post(self, path: str, **parameters: Any) -> Any:
        """Authenticated by a fresh assertion, unless the parameters bring one. Objects go as JSON."""
        if self.agent.uses_mutual_tls:
            form = {"client_id": self.agent.client_id}
        else:
            form = {"client_assertion_type": JWT_BEARER}
        given = parameters.pop("client_assertion", None)
        for name, value in parameters.items():
            form[name] = value if isinstance(value, str) else json.dumps(value)

        def send(**headers: str) -> Any:
            if "client_assertion_type" in form:
                form["client_assertion"] = given or self.assertion()
            return post_form(self.http, path, form, **self.headers, **headers)

        return proved(self.prover if path == "/oauth/token" else None, send)

    def ask(self, user: User | None = None, **parameters: Any) -> Any:
        """POST /bc-authorize; openid and the user's login_hint unless said otherwise."""
        parameters.setdefault("scope", "openid")
        if user is not None:
            parameters.setdefault("login_hint", user.email)
        return self.post("/bc-authorize", **parameters)

    def poll(self, auth_req_id: str) -> Any:
        return self.post("/oauth/token", grant_type=CIBA, auth_req_id=auth_req_id)

    def client_credentials(self, **parameters: Any) -> Any:
        return self.post("/oauth/token", grant_type=CLIENT_CREDENTIALS, **parameters)


@dataclass
class ResourceServer:
    """A resource with its credential."""

    resource: Resource
    secret: str
    http: Client = field(default_factory=Client)

    @property
    def authorization(self) -> str:
        return "Basic " + b64encode(f"{self.resource.id}:{self.secret}".encode()).decode()

    def introspect(self, token: str) -> Any:
        return post_form(self.http, "/oauth/introspect", {"token": token}, Authorization=self.authorization)

    def use(self, token: str, digest: str, key: str | None = None) -> Any:
        headers = {"Authorization": self.authorization} | ({"Idempotency-Key": key} if key else {})
        body = json.dumps({"token": token, "operation_digest": digest})
        return self.http.post("/v1/uses", body, content_type="application/json", headers=headers)

    def digest(self, details: dict[str, Any], client_id: str, sub: str) -> str:
        return operation_digest(
            authorization_details=[details], client_id=client_id, resource=self.resource.identifier, sub=sub
        )


_made_keys: list[SigningKey] = []


@pytest.fixture
def signing(db: None) -> None:
    """Signing keys, as `manage.py rotate_keys --if-missing` makes them; made once in a run, and put in place."""
    signing_keys.clear_cache()
    if _made_keys:
        SigningKey.objects.bulk_create(_made_keys)
    else:
        now = timezone.now()
        for algorithm in signing_keys.ALGORITHMS:
            signing_keys.make_key(algorithm, now, active_at=now)
        _made_keys.extend(SigningKey.objects.all())
    signing_keys.clear_cache()


@functools.cache
def password_hash() -> str:
    """Argon2 is slow on purpose: once in a run is enough."""
    return make_password(PASSWORD)


def make_user(email: str, name: str = "", **fields: Any) -> User:
    return User.objects.create(email=email, name=name, password=password_hash(), **fields)


@pytest.fixture
def user(db: None) -> User:
    return make_user("person@example.com", "Pat Person")


@pytest.fixture
def stranger(db: None) -> User:
    """Another user, whom no agent may ask."""
    return make_user("stranger@example.com", "Sam Stranger")


@pytest.fixture
def administrator(db: None) -> User:
    return make_user("administrator@example.com", "Ada Administrator", is_staff=True, is_superuser=True)


@pytest.fixture
def bank(db: None) -> ResourceServer:
    resource = Resource.objects.create(identifier="https://bank.example.com/", name="Bank")
    Scope.objects.create(resource=resource, name="calendar.read", description="Read your calendar", risk="routine")
    Scope.objects.create(resource=resource, name="accounts.close", description="Close accounts", risk="critical")
    return ResourceServer(resource, issue_resource_secret(resource, About(SYSTEM), timezone.now()))


def make_type(resource: Resource, name: str, schema: dict[str, Any], **meaning: Any) -> OperationType:
    operation_type = OperationType.objects.create(resource=resource, name=name)
    full = {
        "schema": schema,
        "title": name.capitalize(),
        "summary": f"A {name}",
        "risk": "routine",
        "assurance": "session",
        "uses": 1,
        "lifetime": 600,
        **meaning,
    }
    put_version(operation_type, full, About(SYSTEM), timezone.now())
    operation_type.refresh_from_db()
    return operation_type


@pytest.fixture
def payment_type(bank: ResourceServer) -> OperationType:
    summary = "Pay {amount|money:currency} to {creditor}"
    return make_type(bank.resource, "payment", PAYMENT_SCHEMA, title="Payment", summary=summary, risk="critical")


@pytest.fixture
def calendar_type(bank: ResourceServer) -> OperationType:
    return make_type(bank.resource, "calendar", CALENDAR_SCHEMA, summary="Read the calendar of {day|date}")


def make_caller(name: str = "Assistant", algorithm: str = "ES256", **fields: Any) -> Caller:
    key = new_key(algorithm)
    public = {**key.as_dict(private=False), "kid": key.kid}
    fields.setdefault("grant_types", [CIBA, CLIENT_CREDENTIALS])
    agent = Agent(name=name, client_jwks={"keys": [public]}, **fields)
    agent.full_clean()
    agent.save()
    return Caller(agent, key, algorithm)


def allow_everything(caller: Caller, user: User | None = None) -> Caller:
    caller.agent.scopes.set(Scope.objects.all())
    caller.agent.operation_types.set(OperationType.objects.all())
    if user is not None:
        AgentLink.objects.create(agent=caller.agent, user=user, is_linked=True)
    return caller


@pytest.fixture
def agent(user: User, payment_type: OperationType, calendar_type: OperationType, signing: None) -> Caller:
    """An agent that may ask `user` for everything that `bank` offers."""
    return allow_everything(make_caller(), user)


@pytest.fixture
def other_agent(agent: Caller, user: User) -> Caller:
    """A second agent with the same rights."""
    return allow_everything(make_caller("Other"), user)


def sign_in(user: User, password: str = PASSWORD, browser: Client | None = None) -> Client:
    """A browser in which this user signed in at /login just now."""
    browser = browser or Client()
    response = browser.post("/login", {"email": user.email, "password": password})
    assert response.status_code == 302, response.content
    return browser


@pytest.fixture
def browser_of_user(user: User) -> Client:
    return sign_in(user)
