"""POST /oauth/token (RFC 6749 3.2): a table maps each grant_type to its handler.

The endpoint owns the steps that all grants share: the form, client authentication, the sender
constraint, the agent's permission to use this grant, and one transaction for the decision, the
tokens and the audit event. A decision that changes nothing needs no transaction. A handler owns
only the steps of its grant. It returns a verdict and cannot skip a shared step. If a client waits
for the decision, only the decision is repeated (long_poll.py).
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
from audit.record import About, record, record_alone
from clients.authentication import authenticate_agent
from clients.models import Agent
from foundation.endpoint import error_response, json_response, protocol_endpoint
from foundation.errors import InvalidRequest, ProtocolError
from foundation.forms import parse_form
from foundation.pending_answers import resumed
from oauth.errors import UnauthorizedClient, UnsupportedGrantType
from oauth.requests.registered_agent import check_registration
from oauth.token_endpoint.long_poll import AnswerPending, HeldRequest, hold_response, park_again
from oauth.tokens.issuance import Issue, mint
from oauth.tokens.key_binding import UNBOUND, Binding
from oauth.tokens.sender_constraint import adds_nonce, find_binding

Verdict = Issue | ProtocolError
Parameters = Mapping[str, str]


@dataclass(frozen=True)
class TokenRequest:
    """The facts about a token request that do not depend on its grant type."""

    agent: Agent
    parameters: Parameters
    binding: Binding = UNBOUND  # the keys that the tokens will be bound to


@dataclass(frozen=True)
class GrantHandler:
    """One grant type.

    `prepare` reads the parameters before the transaction. It may query, use Redis, and raise a
    ProtocolError. `decide` receives its result inside the transaction and returns the verdict. A
    grant that is `for_public` clients too relies on a secret that was issued to this client alone.

    `look` runs before the transaction and changes nothing. It returns the verdict if `decide` would
    change nothing either, and otherwise what `decide` receives in place of the prepared.
    """

    prepare: Callable[[TokenRequest, datetime], Any]
    decide: Callable[[TokenRequest, Any, datetime], Verdict]
    for_public: bool = False
    look: Callable[[TokenRequest, Any, datetime], Any] | None = None


# Filled by authserver/wiring.py.
HANDLERS: dict[str, GrantHandler] = {}


@dataclass(frozen=True, slots=True)
class TokenAttempt:
    """A token request up to its decision: parsed and authenticated, its assertion and proof spent."""

    handler: GrantHandler
    token_request: TokenRequest
    prepared: Any


@adds_nonce
@protocol_endpoint("token", "POST", cross_origin=True)
def token(request: HttpRequest) -> HttpResponse:
    if (again := resumed(request)) and isinstance(again.state, HeldRequest):
        return _answer_again(request, again.state, is_last=again.is_last)
    attempt = _begin(request, timezone.now())
    answer = decide_and_mint(attempt)
    if isinstance(answer, AnswerPending) and (held := hold_response(request, answer, attempt, timezone.now())):
        return held
    return _respond(request, answer)


def _answer_again(request: HttpRequest, held: HeldRequest, *, is_last: bool) -> HttpResponse:
    answer = decide_and_mint(held.attempt)
    if not is_last and isinstance(answer, AnswerPending) and (on := park_again(request, answer, held)):
        return on
    response = _respond(request, answer)
    response["Preference-Applied"] = held.applied
    return response


def _respond(request: HttpRequest, answer: dict[str, Any] | ProtocolError) -> HttpResponse:
    return error_response(answer, request) if isinstance(answer, ProtocolError) else json_response(answer)


def _begin(request: HttpRequest, now: datetime) -> TokenAttempt:
    """Every phase before the decision. Raises a ProtocolError."""
    parameters = parse_form(request)
    agent = authenticate_agent(
        request, parameters, endpoint_url=f"{settings.ISSUER_URL}/oauth/token", now=now, public=True
    )
    try:
        check_registration(agent)
        token_request = TokenRequest(agent, parameters, find_binding(request, agent, now))
        handler = find_handler(token_request)
        prepared = handler.prepare(token_request, now)
    except ProtocolError as error:
        if not error.is_answer:
            record_alone(events.TOKEN_REFUSED, _about(agent), now, **_refused(error, parameters))
        raise
    return TokenAttempt(handler, token_request, prepared)


def find_handler(token_request: TokenRequest) -> GrantHandler:
    grant_type = token_request.parameters.get("grant_type")
    if grant_type is None:
        raise InvalidRequest("grant_type is missing")
    handler = HANDLERS.get(grant_type)
    if handler is None:
        raise UnsupportedGrantType("this server does not offer this grant type")
    if not token_request.agent.allows_grant_type(grant_type) or (
        token_request.agent.is_public and not handler.for_public
    ):
        raise UnauthorizedClient()
    return handler


def decide_and_mint(attempt: TokenAttempt) -> dict[str, Any] | ProtocolError:
    """The token response or the refusal. Its event is in the transaction of the decision, or alone if
    the decision changes nothing.
    """
    now = timezone.now()
    token_request, prepared = attempt.token_request, attempt.prepared
    if attempt.handler.look:
        prepared = attempt.handler.look(token_request, prepared, now)
        if isinstance(prepared, Verdict):
            return _conclude(prepared, token_request, now, record_alone)
    with transaction.atomic(durable=True):
        return _conclude(attempt.handler.decide(token_request, prepared, now), token_request, now, record)


def _conclude(
    verdict: Verdict, token_request: TokenRequest, now: datetime, record: Callable[..., None]
) -> dict[str, Any] | ProtocolError:
    agent, parameters = token_request.agent, token_request.parameters
    if isinstance(verdict, ProtocolError):
        if not verdict.is_answer:
            record(events.TOKEN_REFUSED, _about(agent), now, **_refused(verdict, parameters))
        return verdict
    return issue(verdict, token_request.binding, parameters["grant_type"], now, record)


def issue(
    verdict: Issue, binding: Binding, grant_type: str, now: datetime, record: Callable[..., None] = record
) -> dict[str, Any]:
    """Mints the tokens and writes the event. Runs in the transaction that decided, if there is one."""
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
