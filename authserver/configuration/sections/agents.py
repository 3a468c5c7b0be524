"""Agents that an administrator registered.

An agent that registered itself is not in the file: its registration changes by its own requests or
by its metadata document, and a file would undo these changes. Users who are linked to an agent are
not in the file either. A user's consent and stop change these links.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from django.db import models

from accounts.models import User
from authserver.configuration.differences import Values
from authserver.configuration.section import (
    REQUIRED,
    Audit,
    Context,
    Field,
    Finding,
    Rows,
    Section,
    column,
)
from clients import lifecycle
from clients.models import CIBA, Agent

# Relations to many rows, each with the section whose keys it lists.
_RELATIONS = {"scopes": "scopes", "operation_types": "operation_types", "groups": "groups"}
_URI_LISTS = ("redirect_uris", "post_logout_redirect_uris")
# A user's `sub` is a UUID. A token that the agent gets in its own name has its client_id as `sub`.
_UUID = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}", re.IGNORECASE)


def _names(description: str) -> dict[str, Any]:
    return {"type": "array", "uniqueItems": True, "items": {"type": "string"}, "description": description}


def _uris(description: str) -> dict[str, Any]:
    return _names(description) | {"items": {"type": "string", "pattern": r"^[^\s]+$"}}


_CLIENT_ID = {
    "type": "string",
    "pattern": "^[A-Za-z0-9._-]{1,100}$",
    "description": "Its client_id. For a new agent, any unused one.",
}
_OWNER = {"type": ["string", "null"], "description": "The e-mail address of its owner, whom it may ask."}
_STATUS = {"enum": ["active", "suspended"], "description": "Countersign refuses all requests of a suspended agent."}


class Agents(Section):
    name, noun, model, key = "agents", "agent", Agent, "client_id"
    fields = (
        Field("client_id", _CLIENT_ID, is_fixed=True),
        column(Agent, "name", schema={"type": "string", "minLength": 1, "maxLength": 60}, default=REQUIRED),
        Field("status", _STATUS, "active"),
        Field("owner", _OWNER, None, attribute="user"),
        column(Agent, "profile"),
        column(Agent, "grant_types"),
        column(Agent, "token_endpoint_auth_method"),
        column(Agent, "client_jwks"),
        column(Agent, "client_jwks_uri"),
        column(Agent, "assertion_audience"),
        column(Agent, "dpop_bound_access_tokens"),
        column(Agent, "tls_client_certificate_bound_access_tokens"),
        column(Agent, "tls_client_auth_subject_dn"),
        column(Agent, "tls_client_auth_san_dns"),
        column(Agent, "tls_client_auth_san_uri"),
        column(Agent, "tls_client_auth_san_ip"),
        column(Agent, "tls_client_auth_san_email"),
        column(Agent, "id_token_signed_response_alg"),
        column(Agent, "backchannel_token_delivery_mode"),
        column(Agent, "backchannel_client_notification_endpoint"),
        column(Agent, "backchannel_authentication_request_signing_alg"),
        column(Agent, "backchannel_user_code_parameter"),
        Field("redirect_uris", _uris("Where a browser may return after /authorize."), []),
        Field("post_logout_redirect_uris", _uris("Where a browser may go after /oidc/logout."), []),
        column(Agent, "pkce_exempt"),
        column(Agent, "identity_scopes"),
        Field("scopes", _names("The scopes that it may ask for."), [], is_set=True, refers_to="scopes"),
        Field("operation_types", _names("The operation types that it may ask for."), [], is_set=True,
              refers_to="operation_types"),
        Field("groups", _names("The groups whose users it may ask."), [], is_set=True, refers_to="groups"),
        column(Agent, "max_lease_lifetime"),
        column(Agent, "max_leases"),
    )  # fmt: skip
    retired: ClassVar[Values] = {"status": "suspended"}
    retirement = "suspend"
    unchecked = frozenset({"user", "status", *_RELATIONS})

    def administered(self) -> models.QuerySet[Any]:
        made = Agent.objects.filter(registration_source=Agent.RegistrationSource.MANUAL)
        return made.select_related("user").prefetch_related(*_RELATIONS)

    def read(self, row: Agent) -> Values:
        plain = {one.name: getattr(row, one.column) for one in self.fields if one.name not in _RELATIONS}
        lists = {name: getattr(row, name).split() for name in _URI_LISTS}
        related = {name: [one.name for one in getattr(row, name).all()] for name in _RELATIONS}
        return plain | lists | related | {"owner": row.user.email if row.user else None}

    def normalize(self, values: Mapping[str, Any]) -> Values:
        found = super().normalize(values)
        return found | {"owner": found["owner"].lower() if found["owner"] else None}  # as users' addresses are stored

    def assign(self, row: Agent, name: str, value: Any, rows: Rows) -> None:
        if name in _URI_LISTS:
            setattr(row, name, " ".join(value))
        elif name == "owner":
            row.user = _find_owner(value)
        elif name not in (*_RELATIONS, "status"):
            super().assign(row, name, value, rows)

    def find_problems(self, values: Values, changed: frozenset[str], context: Context) -> Iterator[Finding]:
        client_id = values["client_id"]
        if Agent.objects.filter(client_id=client_id).exclude(registration_source=Agent.RegistrationSource.MANUAL):
            yield ("client_id",), "this agent registered itself: a file cannot change it"
            return
        if "client_id" in changed and _UUID.fullmatch(client_id):
            yield ("client_id",), "this looks like the id of a user: choose another client_id"
        if values["owner"] and _find_owner(values["owner"]) is None:
            yield ("owner",), "no user has this e-mail address"
        if CIBA in values["grant_types"] and "openid" not in values["identity_scopes"]:  # CIBA Core 7.1
            yield ("identity_scopes",), "an agent that uses CIBA needs openid, which each of its requests has"
        yield from super().find_problems(values, changed, context)

    def save(self, values: Values, changed: frozenset[str], context: Context, audit: Audit) -> None:
        agent = self.build(values, changed, context.rows)
        actor = audit.about.actor
        if written := changed - {"status"}:
            lifecycle.save_agent(agent, self.columns(written), actor, audit.now)
        for name, section in _RELATIONS.items():
            if name in changed:
                getattr(agent, name).set([context.rows.find(section, key) for key in values[name]])
        if "status" in changed:
            is_suspended = values["status"] == Agent.Status.SUSPENDED
            (lifecycle.suspend if is_suspended else lifecycle.resume)(agent, actor, audit.now)


def _find_owner(email: str | None) -> User | None:
    return User.objects.filter(email=email).first() if email else None
