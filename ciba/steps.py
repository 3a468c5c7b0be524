"""The steps of POST /bc-authorize, in the order of CIBA Core 7.2.

A step has one reason to refuse, and raises a ProtocolError. The last one that can, the policy, runs
in the transaction that opens the request.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import assert_never

from django.conf import settings

from ciba import lifecycle
from ciba.attempt import BackchannelAttempt
from ciba.errors import InvalidUserCode, MissingUserCode, RefusedAtOnce, UnknownUserId
from ciba.hint_resolution import find_named, read_hint
from ciba.lifecycle import OpenedRequest
from ciba.parameters import NAMES, parse_parameters
from ciba.policy import RequestRefusal
from clients import profiles
from clients.models import CIBA, REFRESH_TOKEN, Agent
from clients.profiles import Profile, RequestTraits
from devices.user_codes import CodeVerdict, check_code, spend_equal_time
from foundation.errors import InvalidAuthorizationDetails, InvalidRequest, InvalidScope, ProtocolError
from oauth.errors import UnauthorizedClient
from oauth.requests.registered_agent import check_registration
from oauth.requests.request_objects import open_request
from oauth.requests.requested_access import find_requested_access
from operations.wording import WordingError

StepAnswer = BackchannelAttempt | OpenedRequest | RequestRefusal


def check_agent(attempt: BackchannelAttempt) -> BackchannelAttempt:
    if not attempt.agent.allows_grant_type(CIBA):
        raise UnauthorizedClient()
    check_registration(attempt.agent)
    return attempt


def open_request_object(attempt: BackchannelAttempt) -> BackchannelAttempt:
    """CIBA Core 7.1.1."""
    opened = open_request(attempt.agent, attempt.parameters, NAMES, attempt.now)
    return replace(attempt, parameters=opened.parameters, request_object_digest=opened.digest)


def parse(attempt: BackchannelAttempt) -> BackchannelAttempt:
    """CIBA Core 7.1."""
    is_called_back = attempt.agent.backchannel_token_delivery_mode != Agent.DeliveryMode.POLL
    return replace(attempt, parsed=parse_parameters(attempt.parameters, is_called_back=is_called_back))


def check_profile(attempt: BackchannelAttempt) -> BackchannelAttempt:
    """FAPI-CIBA 5.2.2."""
    traits = RequestTraits(
        is_signed=bool(attempt.request_object_digest),
        has_details="authorization_details" in attempt.parameters,
        has_binding_message=bool(attempt.parsed.binding_message),
    )
    if problem := profiles.problem_with_request(traits, Profile(attempt.agent.profile)):
        raise InvalidRequest(problem)
    return attempt


def find_access(attempt: BackchannelAttempt) -> BackchannelAttempt:
    """RFC 6749 3.3, RFC 8707, RFC 9396."""
    may_use_offline_access = attempt.agent.allows_grant_type(REFRESH_TOKEN)
    requested = find_requested_access(attempt.agent, attempt.parameters, may_use_offline_access=may_use_offline_access)
    if requested.offline and not requested.runs_unasked:
        raise InvalidScope("offline_access is only for routine scopes: everything else needs an approval each time")
    return replace(attempt, requested=requested)


def open_hint(attempt: BackchannelAttempt) -> BackchannelAttempt:
    """CIBA Core 7.2, step 4: reads the hint."""
    return replace(attempt, hinted=read_hint(attempt.parsed, attempt.agent, attempt.now))


def find_earlier(attempt: BackchannelAttempt) -> StepAnswer:
    """A repeated request gets the first answer (repeats.py)."""
    return lifecycle.find_earlier(attempt) or attempt


def find_user(attempt: BackchannelAttempt) -> BackchannelAttempt:
    """CIBA Core 7.2, step 4: whether the agent may ask such a user is for the policy to say."""
    return replace(attempt, user=find_named(attempt.hinted, attempt.agent))


def check_user_code(attempt: BackchannelAttempt) -> BackchannelAttempt:
    """CIBA Core 7.2, step 5.

    With CIBA_HIDE_UNKNOWN_USERS a wrong code makes the user unknown, and the check takes equally
    long if there is no user.
    """
    if not attempt.agent.backchannel_user_code_parameter:
        return attempt
    unverified_code = attempt.parsed.unverified_user_code
    if attempt.user is None:
        spend_equal_time(unverified_code)
        return attempt
    verdict = check_code(attempt.agent, attempt.user, unverified_code, attempt.now)
    if verdict is CodeVerdict.RIGHT:
        return attempt
    if settings.HIDE_UNKNOWN_USERS:
        return replace(attempt, user=None)
    raise MissingUserCode() if verdict is CodeVerdict.MISSING else InvalidUserCode()


def judge_and_open(attempt: BackchannelAttempt) -> StepAnswer:
    try:
        return lifecycle.open(attempt)
    except WordingError as error:
        raise InvalidAuthorizationDetails(f"the operation cannot be shown to the user: {error}") from error


STEPS: tuple[Callable[[BackchannelAttempt], StepAnswer], ...] = (
    check_agent,
    open_request_object,
    parse,
    check_profile,
    find_access,
    open_hint,
    find_earlier,
    find_user,
    check_user_code,
    judge_and_open,
)


def take_steps(attempt: BackchannelAttempt) -> OpenedRequest:
    """Runs the steps up to the first that answers. Raises a ProtocolError."""
    for step in STEPS:
        answer = step(attempt)
        if isinstance(answer, RequestRefusal):
            raise error_of(answer)
        if isinstance(answer, OpenedRequest):
            return answer
        attempt = answer
    raise RuntimeError("the last step opens the request or refuses it")


def error_of(refusal: RequestRefusal) -> ProtocolError:
    match refusal:
        case RequestRefusal.UNKNOWN_USER:
            return UnknownUserId()
        case RequestRefusal.MIXED_OPERATIONS:
            return InvalidAuthorizationDetails("a sensitive or critical operation must be the only one in its request")
        case RequestRefusal.ASSURANCE_MISSING:
            return RefusedAtOnce("the operation or acr_values needs an assurance that this server does not offer")
        case RequestRefusal.TOO_MANY_PENDING:
            return RefusedAtOnce("too many requests of this agent wait for this user's answer")
        case RequestRefusal.OTHER_REQUEST:
            return InvalidRequest("this Idempotency-Key was used for another request")
        case _:
            assert_never(refusal)
