"""Random requests to every address outside the administration, with ids of real rows and headers of all kinds.

test_never_500.py tries each protocol endpoint by its own parameters; this tries what those have in common, and the
users' pages with every field that a page has.
"""

import json
import random
import re
from typing import Any
from urllib.parse import urlencode

import pytest
from django.conf import settings as django_settings
from django.test import Client
from django.urls import get_resolver

from accounts.models import User
from ciba.models import Prompt
from clients.models import Agent
from credentials.models import Lease
from devices.models import Device
from oauth.models import Grant
from tests.properties.administration import ENCODINGS, HOSTILE, make_rows
from tests.properties.conftest import undone
from tests.properties.test_never_500 import MADE_UP, is_route
from tests.support.budget import chance, rounds
from tests.support.leases import allow_leases
from tests.support.world import FORM, Caller

pytestmark = [pytest.mark.django_db, pytest.mark.soak]

HEADERS = [
    "Authorization", "DPoP", "Idempotency-Key", "Prefer", "Accept", "Accept-Language", "Accept-Encoding", "Origin",
    "Referer", "Host", "Cookie", "Client-Cert", "Client-Cert-Verify", "X-Forwarded-For", "X-Forwarded-Proto", "Range",
    "If-None-Match", "If-Modified-Since", "Last-Event-ID", "X-CSRFToken", "Content-Encoding", "Sec-Fetch-Site",
    "User-Agent", "Forwarded", "X-HTTP-Method-Override",
]  # fmt: skip
LIKELY = [
    "Bearer x", "Basic Og==", "Basic /w==", "DPoP a.b.c", "wait=5", "wait=" + "9" * 30, "bytes=0-", "bytes=9-1,-5",
    "*/*;q=x", "text/html", "application/json", "de-DE,de;q=0.9,*;q=-1", "null", "gzip", "for=_x;proto=https", ":YQ==:",
    "10.0.0.1, [::1]:5, unknown", "https", "Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 99 Foo 99999 99:99:99 GMT", 'W/"x"',
    "openid", "openid calendar.read offline_access", "code", "none", "login consent", "S256", "a.b.c", "approve",
    "deny", "client_credentials", "refresh_token", "authorization_code", "urn:openid:params:grant-type:ciba", "true",
    "60", '[{"type": "payment"}]', '{"userinfo": {"sub": {"essential": 1}}}', "private_key_jwt", "ES256", "/agents",
    "//evil.example",
]  # fmt: skip
PARAMETERS = [
    "grant_type", "scope", "resource", "authorization_details", "login_hint", "id_token_hint", "login_hint_token",
    "binding_message", "requested_expiry", "auth_req_id", "client_id", "client_secret", "client_assertion", "request",
    "client_assertion_type", "token", "token_type_hint", "user_code", "acr_values", "response_type", "redirect_uri",
    "state", "nonce", "code", "code_verifier", "code_challenge", "code_challenge_method", "prompt", "max_age", "claims",
    "response_mode", "refresh_token", "ui_locales", "display", "logout_hint", "post_logout_redirect_uri", "email",
    "password", "subscription", "page", "before", "ended", "q", "dpop_jkt", "client_notification_token",
]  # fmt: skip
METADATA = [
    "client_name", "redirect_uris", "jwks", "jwks_uri", "grant_types", "response_types", "scope", "client_uri",
    "logo_uri", "tos_uri", "policy_uri", "contacts", "software_id", "software_version", "token_endpoint_auth_method",
    "application_type", "id_token_signed_response_alg", "post_logout_redirect_uris", "default_max_age",
    "require_auth_time", "dpop_bound_access_tokens", "tls_client_auth_san_dns", "tls_client_auth_san_ip",
    "tls_client_auth_subject_dn", "authorization_details_types", "backchannel_token_delivery_mode",
    "backchannel_client_notification_endpoint", "backchannel_authentication_request_signing_alg", "client_name#de",
    "software_statement", "role", "lifetime", "wrap", "purpose", "token", "operation_digest", "handle", "subscription",
]  # fmt: skip


def fields_of_pages() -> list[str]:
    """Every field that a page of ours has, from its template."""
    folders = [folder for engine in django_settings.TEMPLATES for folder in engine["DIRS"]]
    texts = [page.read_text() for folder in folders for page in folder.rglob("*.html")]
    return sorted(
        {name for text in texts for name in re.findall(r'<(?:input|button|select|textarea)[^>]* name="([\w-]+)"', text)}
    )


class Everywhere:
    def __init__(self, dice: random.Random, ids: list[str], tokens: list[str]) -> None:
        self.dice = dice
        self.ids = ids
        self.names = [*PARAMETERS, *PARAMETERS, *fields_of_pages()]
        self.values = [*HOSTILE, *LIKELY, *LIKELY, *ids, *(f"Bearer {token}" for token in tokens), *tokens]
        resolver = get_resolver()
        names = sorted(name for name in resolver.reverse_dict if isinstance(name, str))
        self.templates = [
            (template, holders)
            for name in names
            for possibilities, *_ in resolver.reverse_dict.getlist(name)
            for template, holders in possibilities
        ]

    def value(self) -> str:
        if self.dice.random() < 0.1:
            return "".join(
                chr(self.dice.choice([self.dice.randrange(128), self.dice.randrange(0xD800)])) for _ in range(9)
            )
        return self.dice.choice(self.values)

    def path(self) -> str:
        template, holders = self.dice.choice(self.templates)
        for values in (self.ids, MADE_UP):
            for value in self.dice.sample(list(values), len(values)):
                if is_route(path := "/" + template % dict.fromkeys(holders, value)):
                    return path
        raise AssertionError(f"no made-up value fits {template}")

    def pairs(self) -> list[tuple[str, str]]:
        return [(self.dice.choice(self.names), self.value()) for _ in range(self.dice.randrange(6))]

    def json(self, depth: int = 0) -> Any:
        plain = [None, True, 0, -1, 1.5, 2**53, 2**70, 1e308, "\ud800", "\x00", self.value(), self.value()]
        kind = self.dice.randrange(3 if depth < 3 else 1)
        if kind == 1:
            return [self.json(depth + 1) for _ in range(self.dice.randrange(3))]
        if kind == 2:
            return {
                self.dice.choice([*METADATA, self.value()]): self.json(depth + 1) for _ in range(self.dice.randrange(4))
            }
        return self.dice.choice(plain)

    def body(self) -> tuple[str, bytes]:
        dice = self.dice.random()
        charset = f"; charset={self.dice.choice(ENCODINGS)}" if self.dice.random() < 0.05 else ""
        if dice < 0.45:
            return FORM + charset, urlencode(self.pairs()).encode()
        if dice < 0.85:
            chosen = {self.dice.choice(METADATA): self.json() for _ in range(self.dice.randrange(8))}
            return "application/json" + charset, json.dumps(chosen if dice < 0.75 else self.json()).encode()
        if dice < 0.92:
            return "application/json", self.value().encode()
        return self.dice.choice(
            [FORM, "multipart/form-data; boundary=b", "x", "", "application/jwt"]
        ), self.value().encode()

    def headers(self) -> dict[str, str]:
        """As a server hands them over: one character for each byte, and no line breaks."""
        chosen = {self.dice.choice(HEADERS): self.value() for _ in range(self.dice.randrange(3))}
        return {name: re.sub(r"[\r\n\x00]", "", value).encode().decode("latin-1") for name, value in chosen.items()}

    def request(self) -> dict[str, Any]:
        query = f"?{urlencode(self.pairs())}" if self.dice.random() < 0.5 else ""
        method = self.dice.choice(["GET", "GET", "POST", "POST", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"])
        content_type, body = self.body() if method != "GET" or self.dice.random() < 0.1 else ("", b"")
        return {
            "method": method, "path": self.path() + query, "data": body, "content_type": content_type,
            "headers": self.headers(),
        }  # fmt: skip


def test_no_address_is_answered_with_an_error_of_the_server(
    agent: Caller, user: User, administrator: User, settings: Any
) -> None:
    settings.REGISTRATION = "open"
    make_rows(agent, user, administrator)
    holder = allow_leases(agent, user)
    tokens = [holder.routine_token(), holder.approved_token(Lease.objects.get().role)]
    registered = Client().post(
        "/oidc/register", json.dumps({"redirect_uris": ["http://localhost:1/"]}), content_type="application/json"
    ).json()  # fmt: skip
    tokens.append(registered["registration_access_token"])
    rows = [Prompt.objects.first(), Grant.objects.first(), Device.objects.first(), Lease.objects.first(), user]
    ids = [str(row.pk) for row in rows if row] + [str(Agent.objects.first().pk), registered["client_id"]]  # type: ignore[union-attr]
    everywhere = Everywhere(chance("everywhere"), ids, tokens)
    browsers = [Client(), Client(), Client(enforce_csrf_checks=True)]
    browsers[1].force_login(user)
    answers = set()
    for number in range(rounds(900, 45_000)):
        request = everywhere.request()
        browser = everywhere.dice.choice(browsers)
        cookies = browser.cookies.output()
        with undone():
            try:
                response = browser.generic(**request)
            except Exception as error:
                raise AssertionError(f"request {number}: {request}") from error
            is_known = response.status_code < 500 or response.status_code in {502, 503}
            assert is_known, f"request {number}: {request}: {response.content[:300]!r}"
            answers.add(response.status_code)
        if browser.cookies.output() != cookies:  # signed out, or another session than the database's by now
            browser.cookies.clear()
            if browser is browsers[1]:
                browser.force_login(user)
    assert answers >= {200, 302, 400, 401, 403, 404, 405}, answers
