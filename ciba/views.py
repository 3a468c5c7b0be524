"""POST /bc-authorize (CIBA Core 7): an agent asks. The answer comes before the person is asked."""

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any, assert_never

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from accounts.models import User
from audit import events
from audit.record import About, record_refusal
from ciba import lifecycle, repeats
from ciba.errors import InvalidUserCode, MissingUserCode, RefusedAtOnce, UnknownUserId
from ciba.finding import find_named, read_hint
from ciba.hints import Named
from ciba.parameters import NAMES, Asked, parse_asked
from ciba.policy import AskVerdict
from clients import profiles
from clients.authentication import authenticate_agent
from clients.models import CIBA, REFRESH_TOKEN, Agent
from clients.profiles import Asking, Profile
from devices.user_codes import CodeVerdict, check_code, take_as_long
from foundation.endpoint import json_response, protocol_endpoint
from foundation.errors import InvalidAuthorizationDetails, InvalidRequest, InvalidScope, ProtocolError
from foundation.forms import parse_form
from foundation.idempotency import parse_idempotency_key
from oauth.errors import UnauthorizedClient
from oauth.request_objects import open_request
from oauth.requesting import find_requested
from operations.wording import WordingError

DeliveryMode = Agent.DeliveryMode


@protocol_endpoint("bc-authorize", "POST", hides_people=True)
def backchannel_authentication(request: HttpRequest) -> HttpResponse:
    now = timezone.now()
    parameters = parse_form(request)
    agent = authenticate_agent(request, parameters, endpoint_url=f"{settings.ISSUER_URL}/bc-authorize", now=now)
    try:
        opened = ask(agent, parameters, now, unverified_key=parse_idempotency_key(request))
    except ProtocolError as error:
        about = About(f"agent:{agent.client_id}", client_id=agent.client_id)
        record_refusal(events.REQUEST_REFUSED, about, now, error=error.code, detail=error.detail or error.description)
        raise
    return json_response(acknowledgement(opened, now))


def acknowledgement(opened: lifecycle.Opened, now: datetime) -> dict[str, Any]:
    """CIBA Core 7.3: `interval` is for those who may ask for their tokens. What is repeated expires sooner."""
    left = opened.request.auth_req_id_expires_at - now
    answer = {"auth_req_id": opened.auth_req_id, "expires_in": math.ceil(left.total_seconds())}
    if opened.request.delivery_mode != DeliveryMode.PUSH:
        answer["interval"] = opened.request.interval
    return answer


def ask(
    agent: Agent, parameters: Mapping[str, str], now: datetime, *, unverified_key: str | None = None
) -> lifecycle.Opened:
    """Checks in the order of CIBA Core 7.2, then opens the request, or finds it. Raises a ProtocolError.

    `unverified_key` is the Idempotency-Key.
    """
    if not agent.allows_grant_type(CIBA):
        raise UnauthorizedClient()
    if problem := profiles.problem_with(agent.registered, Profile(agent.profile)):
        raise UnauthorizedClient(problem)  # it was changed past the form
    signed = open_request(agent, parameters, NAMES, now)
    asked = parse_asked(signed.parameters, is_called_back=agent.backchannel_token_delivery_mode != DeliveryMode.POLL)
    requested = find_requested(agent, signed.parameters, may_stay=agent.allows_grant_type(REFRESH_TOKEN))
    if requested.stays and not requested.runs_unasked:
        raise InvalidScope("offline_access is for routine scopes: everything else is asked for each time")
    asking = Asking(bool(signed.digest), bool(requested.authorization_details), bool(asked.binding_message))
    if problem := profiles.problem_with_asking(asking, Profile(agent.profile)):
        raise InvalidRequest(problem)
    named = read_hint(asked, agent, now)
    repeatable = repeats.describe(unverified_key, asked, named, requested) if unverified_key else None
    answer = lifecycle.find_earlier(agent, repeatable, now) if repeatable else None
    if answer is None:
        user = _find_askable(agent, asked, named, now)
        try:
            answer = lifecycle.open(
                agent, user, asked, requested, now, request_object_digest=signed.digest, repeatable=repeatable
            )
        except WordingError as error:
            raise InvalidAuthorizationDetails(f"the operation cannot be shown to a person: {error}") from error
    if isinstance(answer, AskVerdict):
        raise refusal(answer)
    return answer


def _find_askable(agent: Agent, asked: Asked, named: Named | None, now: datetime) -> User | None:
    user = find_named(named, agent)
    if agent.backchannel_user_code_parameter:
        return with_user_code(agent, user, asked.unverified_user_code, now)
    return user


def with_user_code(agent: Agent, user: User | None, unverified_code: str | None, now: datetime) -> User | None:
    """The person, where their code lets them be asked (CIBA Core 7.2, step 5). Raises MissingUserCode, InvalidUserCode.

    Where people are hidden, nobody is there without the right code, and that takes as long to find out.
    """
    if user is None:
        take_as_long(unverified_code)
        return None
    verdict = check_code(agent, user, unverified_code, now)
    if verdict is CodeVerdict.RIGHT:
        return user
    if settings.HIDE_UNKNOWN_USERS:
        return None
    raise MissingUserCode() if verdict is CodeVerdict.MISSING else InvalidUserCode()


def refusal(verdict: AskVerdict) -> ProtocolError:
    match verdict:
        case AskVerdict.UNKNOWN_PERSON:
            return UnknownUserId()
        case AskVerdict.MIXED_OPERATIONS:
            return InvalidAuthorizationDetails("a sensitive or critical operation is asked for alone")
        case AskVerdict.ASSURANCE_MISSING:
            return RefusedAtOnce("this operation, or acr_values, demands an assurance that this server cannot give")
        case AskVerdict.TOO_MANY_PENDING:
            return RefusedAtOnce("too many requests of this agent wait for this person's answer")
        case AskVerdict.OTHER_REQUEST:
            return InvalidRequest("this Idempotency-Key was used for another request")
        case AskVerdict.ASK | AskVerdict.ASK_NOBODY:
            raise RuntimeError("not a refusal")
        case _:
            assert_never(verdict)
