"""POST /oauth/token (RFC 6749 3.2): one table from grant_type to handler.

The endpoint owns what all grants share: the form, client authentication, sender constraint, may this agent
use this grant, one transaction for deciding, minting and the audit event. A handler owns only what is its own, and
cannot skip the rest: it returns a verdict. Only the decision is made again where a client waits for it (holding.py).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from audit import events
from audit.record import About, record, record_refusal
from clients.authentication import authenticate_agent
from clients.models import Agent
from foundation.endpoint import error_response, json_response, protocol_endpoint
from foundation.errors import InvalidRequest, ProtocolError
from foundation.forms import parse_form
from foundation.waiting import resumed
from oauth.binding import UNBOUND, Binding
from oauth.errors import UnauthorizedClient, UnsupportedGrantType
from oauth.holding import Held, NotYet, hold_back, hold_on
from oauth.minting import Issue, mint
from oauth.sender_constraint import find_binding, tells_nonce

Verdict = Issue | ProtocolError
Parameters = Mapping[str, str]


@dataclass(frozen=True)
class TokenRequest:
    """What is known of a token request before its grant type is looked at."""

    agent: Agent
    parameters: Parameters
    binding: Binding = UNBOUND  # what the tokens will be bound to


@dataclass(frozen=True)
class GrantHandler:
    """One grant type.

    `prepare` reads the parameters, before the transaction: it may look things up, ask Redis, and raise a
    ProtocolError. `decide` gets what it returned, inside the transaction, and returns the verdict. A grant
    that is `for_public` clients too rests on something that was given to this client alone.
    """

    prepare: Callable[[TokenRequest, datetime], Any]
    decide: Callable[[TokenRequest, Any, datetime], Verdict]
    for_public: bool = False


# Filled by authserver/wiring.py.
HANDLERS: dict[str, GrantHandler] = {}


@dataclass(frozen=True, slots=True)
class Attempt:
    """A token request up to its decision: read, authenticated, and with what it spent spent."""

    handler: GrantHandler
    asked: TokenRequest
    prepared: Any


@tells_nonce
@protocol_endpoint("token", "POST", cross_origin=True)
def token(request: HttpRequest) -> HttpResponse:
    if (again := resumed(request)) and isinstance(again.state, Held):
        return _answer_again(request, again.state, is_last=again.is_last)
    attempt = _begin(request, timezone.now())
    answer = decide_and_mint(attempt)
    if isinstance(answer, NotYet) and (held := hold_back(request, answer, attempt, timezone.now())):
        return held
    return _respond(request, answer)


def _answer_again(request: HttpRequest, held: Held, *, is_last: bool) -> HttpResponse:
    answer = decide_and_mint(held.attempt)
    if not is_last and isinstance(answer, NotYet) and (on := hold_on(request, answer, held)):
        return on
    response = _respond(request, answer)
    response["Preference-Applied"] = held.applied
    return response


def _respond(request: HttpRequest, answer: dict[str, Any] | ProtocolError) -> HttpResponse:
    return error_response(answer, request) if isinstance(answer, ProtocolError) else json_response(answer)


def _begin(request: HttpRequest, now: datetime) -> Attempt:
    """Every phase before the decision. Raises ProtocolError."""
    parameters = parse_form(request)
    agent = authenticate_agent(
        request, parameters, endpoint_url=f"{settings.ISSUER_URL}/oauth/token", now=now, public=True
    )
    try:
        asked = TokenRequest(agent, parameters, find_binding(request, agent, now))
        handler = find_handler(asked)
        prepared = handler.prepare(asked, now)
    except ProtocolError as error:
        if not error.is_answer:
            record_refusal(events.TOKEN_REFUSED, _about(agent), now, **_refused(error, parameters))
        raise
    return Attempt(handler, asked, prepared)


def find_handler(asked: TokenRequest) -> GrantHandler:
    grant_type = asked.parameters.get("grant_type")
    if grant_type is None:
        raise InvalidRequest("grant_type is missing")
    handler = HANDLERS.get(grant_type)
    if handler is None:
        raise UnsupportedGrantType("this server does not offer this grant type")
    if not asked.agent.allows_grant_type(grant_type) or (asked.agent.is_public and not handler.for_public):
        raise UnauthorizedClient()
    return handler


@transaction.atomic(durable=True)
def decide_and_mint(attempt: Attempt) -> dict[str, Any] | ProtocolError:
    """The token response, or the refusal; either way with its event, in one transaction."""
    now = timezone.now()
    asked = attempt.asked
    agent, parameters = asked.agent, asked.parameters
    verdict = attempt.handler.decide(asked, attempt.prepared, now)
    if isinstance(verdict, ProtocolError):
        if not verdict.is_answer:
            record(events.TOKEN_REFUSED, _about(agent), now, **_refused(verdict, parameters))
        return verdict
    return issue(verdict, asked.binding, parameters["grant_type"], now)


def issue(verdict: Issue, binding: Binding, grant_type: str, now: datetime) -> dict[str, Any]:
    """Mints, with the event. Takes part in the transaction that decided."""
    response, jti = mint(verdict, binding, now)
    agent, grant = verdict.agent, verdict.grant
    about = About(
        actor=f"agent:{agent.client_id}",
        client_id=agent.client_id,
        user_id=verdict.user.id if verdict.user else None,
        request_id=grant.request_id if grant else None,
        grant_id=grant.id if grant else None,
    )
    record(
        events.TOKEN_ISSUED, about, now, jti=jti, scope=verdict.scopes, resource=verdict.resource,
        grant_type=grant_type, expires_in=response["expires_in"],
        operation_digest=grant.operation_digest if grant else None, cnf=binding.cnf,
    )  # fmt: skip
    return response


def _about(agent: Agent) -> About:
    return About(f"agent:{agent.client_id}", client_id=agent.client_id)


def _refused(error: ProtocolError, parameters: Parameters) -> dict[str, Any]:
    known = parameters.get("grant_type") if parameters.get("grant_type") in HANDLERS else None
    return {"error": error.code, "detail": error.detail or error.description, "grant_type": known}
