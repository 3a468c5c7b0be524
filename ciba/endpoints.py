"""POST /bc-authorize (CIBA Core 7): an agent sends a backchannel request.

The response is sent before the user is prompted.
"""

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
from ciba.hint_resolution import find_named, read_hint
from ciba.hints import HintedSubject
from ciba.parameters import NAMES, BackchannelParameters, parse_parameters
from ciba.policy import RequestVerdict
from clients import profiles
from clients.authentication import authenticate_agent
from clients.models import CIBA, REFRESH_TOKEN, Agent
from clients.profiles import Profile, RequestTraits
from devices.user_codes import CodeVerdict, check_code, spend_equal_time
from foundation.endpoint import json_response, protocol_endpoint
from foundation.errors import InvalidAuthorizationDetails, InvalidRequest, InvalidScope, ProtocolError
from foundation.forms import parse_form
from foundation.idempotency import parse_idempotency_key
from oauth.errors import UnauthorizedClient
from oauth.requests.request_objects import open_request
from oauth.requests.requested_access import find_requested_access
from operations.wording import WordingError

DeliveryMode = Agent.DeliveryMode


@protocol_endpoint("bc-authorize", "POST", hides_users=True)
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


def acknowledgement(opened: lifecycle.OpenedRequest, now: datetime) -> dict[str, Any]:
    """The response of CIBA Core 7.3.

    Only ping and poll agents get an `interval`. A repeated request gets the time that is left as
    `expires_in`.
    """
    left = opened.request.auth_req_id_expires_at - now
    answer = {"auth_req_id": opened.auth_req_id, "expires_in": math.ceil(left.total_seconds())}
    if opened.request.delivery_mode != DeliveryMode.PUSH:
        answer["interval"] = opened.request.interval
    return answer


def ask(
    agent: Agent, parameters: Mapping[str, str], now: datetime, *, unverified_key: str | None = None
) -> lifecycle.OpenedRequest:
    """Checks in the order of CIBA Core 7.2, then opens the request or returns an earlier one.

    Raises a ProtocolError.

    `unverified_key` is the Idempotency-Key.
    """
    if not agent.allows_grant_type(CIBA):
        raise UnauthorizedClient()
    if problem := profiles.problem_with(agent.registered, Profile(agent.profile)):
        raise UnauthorizedClient(problem)  # the agent was changed outside the form
    signed = open_request(agent, parameters, NAMES, now)
    parsed = parse_parameters(
        signed.parameters, is_called_back=agent.backchannel_token_delivery_mode != DeliveryMode.POLL
    )
    requested = find_requested_access(
        agent, signed.parameters, may_use_offline_access=agent.allows_grant_type(REFRESH_TOKEN)
    )
    if requested.offline and not requested.runs_unasked:
        raise InvalidScope("offline_access is for routine scopes: everything else is asked for each time")
    traits = RequestTraits(bool(signed.digest), bool(requested.authorization_details), bool(parsed.binding_message))
    if problem := profiles.problem_with_request(traits, Profile(agent.profile)):
        raise InvalidRequest(problem)
    named = read_hint(parsed, agent, now)
    repeatable = repeats.describe(unverified_key, parsed, named, requested) if unverified_key else None
    answer = lifecycle.find_earlier(agent, repeatable, now) if repeatable else None
    if answer is None:
        user = _find_askable(agent, parsed, named, now)
        try:
            answer = lifecycle.open(
                agent, user, parsed, requested, now, request_object_digest=signed.digest, repeatable=repeatable
            )
        except WordingError as error:
            raise InvalidAuthorizationDetails(f"the operation cannot be shown to a person: {error}") from error
    if isinstance(answer, RequestVerdict):
        raise refusal(answer)
    return answer


def _find_askable(
    agent: Agent, parsed: BackchannelParameters, named: HintedSubject | None, now: datetime
) -> User | None:
    user = find_named(named, agent)
    if agent.backchannel_user_code_parameter:
        return check_user_code(agent, user, parsed.unverified_user_code, now)
    return user


def check_user_code(agent: Agent, user: User | None, unverified_code: str | None, now: datetime) -> User | None:
    """The user, if the user code is right (CIBA Core 7.2, step 5).

    Raises MissingUserCode or InvalidUserCode.

    With CIBA_HIDE_UNKNOWN_USERS a wrong code makes the user unknown, and the check takes equally
    long if there is no user.
    """
    if user is None:
        spend_equal_time(unverified_code)
        return None
    verdict = check_code(agent, user, unverified_code, now)
    if verdict is CodeVerdict.RIGHT:
        return user
    if settings.HIDE_UNKNOWN_USERS:
        return None
    raise MissingUserCode() if verdict is CodeVerdict.MISSING else InvalidUserCode()


def refusal(verdict: RequestVerdict) -> ProtocolError:
    match verdict:
        case RequestVerdict.UNKNOWN_USER:
            return UnknownUserId()
        case RequestVerdict.MIXED_OPERATIONS:
            return InvalidAuthorizationDetails("a sensitive or critical operation is asked for alone")
        case RequestVerdict.ASSURANCE_MISSING:
            return RefusedAtOnce("this operation, or acr_values, demands an assurance that this server cannot give")
        case RequestVerdict.TOO_MANY_PENDING:
            return RefusedAtOnce("too many requests of this agent wait for this person's answer")
        case RequestVerdict.OTHER_REQUEST:
            return InvalidRequest("this Idempotency-Key was used for another request")
        case RequestVerdict.ASK | RequestVerdict.ASK_NO_ONE:
            raise RuntimeError("not a refusal")
        case _:
            assert_never(verdict)
