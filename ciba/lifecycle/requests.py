"""Opens a request with its prompt, or answers an earlier one again."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction

from accounts.models import lock_user
from audit import events
from audit.record import record
from ciba import repeats
from ciba.attempt import BackchannelAttempt
from ciba.callbacks import state as callbacks
from ciba.lifecycle.transitions import about, audit_facts
from ciba.models import BackchannelRequest, Prompt, count_pending
from ciba.policy import Acceptance, RequestFacts, RequestRefusal, judge_request, lifetime_of_request, time_to_answer
from ciba.prompt_content import PromptContent, describe_access, describe_operation, prompt_digest
from ciba.repeats import EarlierRequest
from ciba.states import State
from ciba.topics import topics_of
from clients.models import Agent, lock_agent
from devices import lifecycle as devices
from foundation.handles import digest, new_handle, new_id, random_bytes
from foundation.inserts import insert
from foundation.wakeups import wake
from oauth.grants.lifecycle import requested_digest
from oauth.requests.requested_access import RequestedAccess
from operations import wording
from operations.risk import Assurance, Risk


@dataclass(frozen=True)
class OpenedRequest:
    """An accepted request.

    The handle is not stored in clear. If the agent may repeat the request, the handle is kept
    sealed.
    """

    auth_req_id: str
    request: BackchannelRequest


@transaction.atomic(durable=True)
def open(attempt: BackchannelAttempt) -> OpenedRequest | RequestRefusal:
    """Judges the policy, then stores the request with its rendered content, one prompt for the
    user, and the event.

    If the same request was opened meanwhile under the same Idempotency-Key, that request is
    returned.
    """
    life = lifetime_of_request(
        attempt.parsed.requested_expiry, settings.REQUEST_LIFETIME, settings.REQUEST_LIFETIME_MAX
    )
    request_id, auth_req_id = new_id(), new_handle()
    if earlier := repeats.claim(attempt, request_id, auth_req_id, until=attempt.now + life):
        return _answer_again(earlier, attempt.now)
    verdict = judge_request(_request_facts(attempt))
    if isinstance(verdict, RequestRefusal):
        # The key stays free. Without one nothing is written, and after a ROLLBACK the connection would prepare
        # its statements again.
        if attempt.unverified_key is not None:
            transaction.set_rollback(True)
        return verdict
    request = _store(request_id, auth_req_id, attempt, verdict, life)
    prompt = _create_prompt(request)
    devices.notify_approver(request.user, prompt.id, attempt.now, request.expires_at)
    wake(topics_of(request))
    record(
        events.REQUEST_OPENED, about(request, f"agent:{attempt.agent.client_id}"), attempt.now,
        **audit_facts(request), operation_digest=request.operation_digest, scope=request.scopes,
        authorization_details=request.authorization_details, binding_message=request.binding_message,
        types=[f"{v.operation_type.name} v{v.number}" for v in attempt.requested.versions],
        prompt_closes_at=request.expires_at.isoformat(), expires_at=request.auth_req_id_expires_at.isoformat(),
        request_object_digest=attempt.request_object_digest or None, decoy=verdict.decoy_reason,
    )  # fmt: skip
    return OpenedRequest(auth_req_id, request)


def find_earlier(attempt: BackchannelAttempt) -> OpenedRequest | RequestRefusal | None:
    """The answer to this agent's earlier request under the same Idempotency-Key, while that request
    lasts.

    The user is not prompted again.
    """
    earlier = repeats.find(attempt)
    if earlier is None:
        return None
    with transaction.atomic(durable=True):
        return _answer_again(earlier, attempt.now)


def _answer_again(earlier: EarlierRequest, now: datetime) -> OpenedRequest | RequestRefusal:
    if not earlier.is_same:
        return RequestRefusal.OTHER_REQUEST
    request = earlier.request
    record(events.REQUEST_REPEATED, about(request, f"agent:{request.agent.client_id}"), now)
    return OpenedRequest(earlier.auth_req_id, request)


def _request_facts(attempt: BackchannelAttempt) -> RequestFacts:
    agent, user, versions = attempt.agent, attempt.user, attempt.requested.versions
    # The count happens under a lock, so that concurrent requests cannot exceed the limit. With
    # CIBA_HIDE_UNKNOWN_USERS the lock is the agent's row: a lock on a user's row would reveal, by
    # waiting, that the user exists.
    if settings.HIDE_UNKNOWN_USERS:
        lock_agent(agent)
    elif user is not None:
        lock_user(user)
    counted_user_id = user.pk if user else new_id()  # a decoy counts 0, by a query that takes equally long
    return RequestFacts(
        may_ask_user=user is not None,
        hides_users=settings.HIDE_UNKNOWN_USERS,
        risks=[Risk(version.risk) for version in versions],
        assurances=[Assurance(version.assurance) for version in versions],
        acr_values=attempt.parsed.acr_values,
        pending=count_pending(agent, counted_user_id, attempt.now),
        max_pending=settings.MAX_PENDING_PER_USER,
    )


def _store(
    request_id: UUID, auth_req_id: str, attempt: BackchannelAttempt, accepted: Acceptance, life: timedelta
) -> BackchannelRequest:
    agent, parsed, requested, now = attempt.agent, attempt.parsed, attempt.requested, attempt.now
    versions, until = requested.versions, now + life
    user = attempt.user if accepted.decoy_reason is None else None
    request = BackchannelRequest(
        id=request_id,
        agent=agent,
        agent_epoch=agent.control_epoch,
        user=user,
        resource=requested.resource,
        state=State.PENDING,
        auth_req_id_digest=digest(auth_req_id),
        scopes=requested.scope_names,
        authorization_details=requested.authorization_details,
        operation_digest=requested_digest(requested, agent, user),
        assurance=accepted.assurance,
        uses=versions[0].uses if len(versions) == 1 else None,
        grant_lifetime=_grant_lifetime(requested),
        binding_message=parsed.binding_message,
        content=_compose(agent, requested),
        wording_version=wording.WORDING_VERSION,
        interval=settings.POLL_INTERVAL,
        created_at=now,
        expires_at=now + time_to_answer(life, timedelta(seconds=settings.TIME_TO_FETCH)),
        auth_req_id_expires_at=until,
        **callbacks.seal_callback_data(agent, request_id, auth_req_id, parsed.client_notification_token, until),
    )
    insert([request])
    if versions:
        listed = BackchannelRequest.versions.through
        insert(
            [listed(backchannelrequest=request, operationtypeversion=version) for version in dict.fromkeys(versions)]
        )
    return request


def _grant_lifetime(requested: RequestedAccess) -> int:
    """How many seconds the approved access lasts."""
    if requested.offline:
        return int(settings.GRANT_LIFETIME)
    return min([version.lifetime for version in requested.versions] or [int(settings.ACCESS_TOKEN_LIFETIME)])


def _compose(agent: Agent, requested: RequestedAccess) -> PromptContent:
    operations = [
        describe_operation(
            details, title=version.title, summary=version.summary, risk=version.risk, schema=version.schema
        )
        for details, version in zip(requested.authorization_details, requested.versions, strict=True)
    ]
    return {
        "agent": str(agent.name),
        "resource": requested.resource.name if requested.resource else None,
        "operations": operations,
        "access": describe_access(
            requested.identity_scopes, [scope.description for scope in requested.scopes], offline=requested.offline
        ),
    }


def _create_prompt(request: BackchannelRequest) -> Prompt:
    nonce = random_bytes(32)
    bound = prompt_digest(
        operation_digest=request.operation_digest,
        content=request.content,
        binding_message=request.binding_message,
        request_id=request.id,
        expires_at=request.expires_at,
        nonce=nonce,
    )
    prompt = Prompt(id=new_id(), request=request, approver=request.user, nonce=nonce, prompt_digest=bound)
    insert([prompt])
    return prompt
