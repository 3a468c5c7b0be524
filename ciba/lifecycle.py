"""The use cases of a backchannel request, one transaction each.

The only module that writes `state`.

A state changes by one conditional UPDATE whose WHERE clause is the transition table; the row count
decides which caller won. The audit event is in the same transaction. Lock order: request, then
grant. After the commit, waiting long polls and event streams are woken (topics.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet

from accounts.models import User
from audit import events
from audit.record import SYSTEM, About, record, record_revocation
from ciba import repeats
from ciba.attempt import BackchannelAttempt
from ciba.callbacks import state as delivery
from ciba.models import Approval, BackchannelRequest, Prompt, is_alive
from ciba.policy import (
    AnswerFacts,
    AnswerVerdict,
    RequestFacts,
    RequestRefusal,
    judge_answer,
    judge_request,
    lifetime_of_request,
    time_to_answer,
)
from ciba.prompt_content import PromptContent, describe_access, describe_operation, headline, prompt_digest
from ciba.repeats import EarlierRequest
from ciba.states import REQUEST_STATES, State
from ciba.topics import topics_of
from clients import lifecycle as agents
from clients.models import Agent
from devices import lifecycle as devices
from foundation.handles import b64url, digest, new_handle, new_id, random_bytes
from foundation.transactions import inside_transaction
from foundation.wakeups import wake
from oauth.grants.lifecycle import requested_digest, revoke_grant, revoke_grants_between
from oauth.models import Grant
from oauth.requests.requested_access import RequestedAccess
from operations import wording
from operations.models import OFFLINE_ACCESS
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
        transaction.set_rollback(True)  # the key stays free
        return verdict
    user = attempt.user if verdict.decoy_reason is None else None
    request = _store(request_id, auth_req_id, attempt, user, verdict.assurance, life)
    prompt = _create_prompt(request, user)
    devices.notify_approver(user, prompt.id, attempt.now, request.expires_at)
    wake(topics_of(request))
    record(
        events.REQUEST_OPENED, about(request, f"agent:{attempt.agent.client_id}"), attempt.now,
        **_audit_facts(request), operation_digest=request.operation_digest, scope=request.scopes,
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
        Agent.objects.select_for_update(no_key=True).values_list("pk").get(pk=agent.pk)
    elif user is not None:
        User.objects.select_for_update(no_key=True).values_list("pk").get(pk=user.pk)
    counted_user_id = user.pk if user else new_id()  # a decoy counts 0, by a query that takes equally long
    pending = BackchannelRequest.objects.filter(
        agent=agent, user=counted_user_id, state=State.PENDING, expires_at__gt=attempt.now
    )
    return RequestFacts(
        may_ask_user=user is not None,
        hides_users=settings.HIDE_UNKNOWN_USERS,
        risks=[Risk(version.risk) for version in versions],
        assurances=[Assurance(version.assurance) for version in versions],
        acr_values=attempt.parsed.acr_values,
        pending=pending.count(),
        max_pending=settings.MAX_PENDING_PER_USER,
    )


def _store(
    request_id: UUID,
    auth_req_id: str,
    attempt: BackchannelAttempt,
    user: User | None,
    assurance: Assurance,
    life: timedelta,
) -> BackchannelRequest:
    agent, parsed, requested, now = attempt.agent, attempt.parsed, attempt.requested, attempt.now
    versions, until = requested.versions, now + life
    request = BackchannelRequest.objects.create(
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
        assurance=assurance,
        uses=versions[0].uses if len(versions) == 1 else None,
        grant_lifetime=_grant_lifetime(requested),
        binding_message=parsed.binding_message,
        content=_compose(agent, requested),
        wording_version=wording.WORDING_VERSION,
        interval=settings.POLL_INTERVAL,
        created_at=now,
        expires_at=now + time_to_answer(life, timedelta(seconds=settings.TIME_TO_FETCH)),
        auth_req_id_expires_at=until,
        **delivery.seal_callback_data(agent, request_id, auth_req_id, parsed.client_notification_token, until),
    )
    request.versions.add(*versions)
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


def _create_prompt(request: BackchannelRequest, approver: User | None) -> Prompt:
    nonce = random_bytes(32)
    bound = prompt_digest(
        operation_digest=request.operation_digest,
        content=request.content,
        binding_message=request.binding_message,
        request_id=request.id,
        expires_at=request.expires_at,
        nonce=nonce,
    )
    return Prompt.objects.create(id=new_id(), request=request, approver=approver, nonce=nonce, prompt_digest=bound)


@dataclass(frozen=True)
class Approver:
    """Who answers the prompt: always the signed-in user of this session, never a user named in the
    body.
    """

    user: User
    assurance: Assurance | None  # the session's assurance now
    signed_in_at: datetime | None
    address: str
    user_agent: str


def approve(prompt_id: UUID, answerer: Approver, now: datetime) -> AnswerVerdict:
    """Approves: the evidence, the grant with its uses, and the event, in one transaction."""
    return _answer(prompt_id, answerer, State.APPROVED, now)


def deny(prompt_id: UUID, answerer: Approver, now: datetime) -> AnswerVerdict:
    return _answer(prompt_id, answerer, State.DENIED, now)


@transaction.atomic(durable=True)
def _answer(prompt_id: UUID, answerer: Approver, target: State, now: datetime) -> AnswerVerdict:
    prompt = Prompt.objects.select_related("request__agent", "request__user").filter(pk=prompt_id).first()
    if prompt is None:
        return AnswerVerdict.UNKNOWN
    verdict = judge_answer(_answer_facts(prompt, answerer, target), now)
    if verdict is not AnswerVerdict.COUNT:
        if verdict is AnswerVerdict.UNKNOWN:
            by = About(f"user:{answerer.user.id}", request_id=prompt.request_id)
            record(events.PROMPT_REFUSED, by, now, reason="not this person's prompt", prompt=str(prompt.id))
        return verdict
    # Tokens can still be fetched after an approval at the last moment, but not after the end of the
    # grant.
    end = min(prompt.request.auth_req_id_expires_at, _grant_end(prompt.request, now))
    if not _move(prompt.request, target, now, decided_at=now, expires_at=end):
        return AnswerVerdict.ANSWERED  # another answer, or the expiry, came first
    prompt.request.expires_at = end
    prompt.answer = Prompt.Answer.APPROVED if target is State.APPROVED else Prompt.Answer.DENIED
    prompt.answered_at = now
    prompt.save(update_fields=["answer", "answered_at"])
    devices.withdraw_notification(prompt.id, now)
    if target is State.APPROVED:
        _grant(prompt, answerer, now)
    else:
        by = about(prompt.request, f"user:{answerer.user.id}")
        record(events.REQUEST_DENIED, by, now, prompt=str(prompt.id), **_audit_facts(prompt.request))
    delivery.enqueue(prompt.request, now)
    return verdict


def _answer_facts(prompt: Prompt, answerer: Approver, target: State) -> AnswerFacts:
    request = prompt.request
    return AnswerFacts(
        is_own=prompt.approver_id == answerer.user.id and answerer.user.is_active,
        is_pending=request.state == State.PENDING,
        is_alive=is_alive(request),
        is_approval=target is State.APPROVED,
        has_assurance=answerer.assurance == request.assurance,
        expires_at=request.expires_at,
    )


def _grant(prompt: Prompt, answerer: Approver, now: datetime) -> None:
    request = prompt.request
    if answerer.signed_in_at is None:
        raise RuntimeError("an approval without a sign-in was judged to count")
    Approval.objects.create(
        prompt=prompt,
        assurance=request.assurance,
        prompt_digest=prompt.prompt_digest,
        signed_in_at=answerer.signed_in_at,
        address=answerer.address,
        user_agent=answerer.user_agent[:300],
        at=now,
    )
    grant = Grant.objects.create(
        id=new_id(),
        agent=request.agent,
        agent_epoch=request.agent_epoch,
        user=request.user,
        resource_id=request.resource_id,
        scopes=request.scopes,
        authorization_details=request.authorization_details,
        operation_digest=request.operation_digest,
        uses_left=request.uses,
        is_offline=OFFLINE_ACCESS in request.scopes,
        signed_in_at=answerer.signed_in_at,
        acr=request.assurance,
        created_at=now,
        expires_at=_grant_end(request, now),
        request_id=request.id,
    )
    BackchannelRequest.objects.filter(pk=request.pk).update(grant=grant)
    request.grant = grant
    record(
        events.REQUEST_APPROVED, about(request, f"user:{answerer.user.id}"), now,
        prompt=str(prompt.id), prompt_digest=b64url(bytes(prompt.prompt_digest)), assurance=request.assurance,
        **_audit_facts(request),
        operation_digest=request.operation_digest, signed_in_at=answerer.signed_in_at.isoformat(),
        address=answerer.address, uses=request.uses, grant_expires_at=grant.expires_at.isoformat(),
    )  # fmt: skip


def _grant_end(request: BackchannelRequest, approved_at: datetime) -> datetime:
    return approved_at + timedelta(seconds=request.grant_lifetime)


def expire(request: BackchannelRequest, now: datetime) -> bool:
    """pending → expired, before a poll answers expired_token, so that no later answer can approve
    the request.

    False if it was answered or ended meanwhile. Runs in the transaction that answers the poll.
    """
    locked = _lock(request.pk)
    if locked.state != State.PENDING:
        return False
    _end(locked, State.EXPIRED, SYSTEM, now)
    delivery.enqueue(locked, now)
    request.state = locked.state
    return True


def redeem(request: BackchannelRequest, now: datetime) -> bool:
    """approved → redeemed, once. Runs in the transaction that mints the tokens."""
    inside_transaction("redeeming")
    # Not from delivering: the tokens of such a request are already minted.
    if not _move(request, State.REDEEMED, now, leaving=[State.APPROVED], redeemed_at=now):
        return False
    record(events.REQUEST_REDEEMED, about(request, f"agent:{request.agent.client_id}"), now, **_audit_facts(request))
    delivery.settle(request, now)
    return True


def start_push(request: BackchannelRequest, now: datetime) -> bool:
    """approved → delivering, once. Runs in the transaction that mints the pushed tokens."""
    inside_transaction("starting a push")
    if not _move(request, State.DELIVERING, now):
        return False
    record(events.REQUEST_DELIVERING, about(request, SYSTEM), now, **_audit_facts(request))
    return True


def may_resend(request: BackchannelRequest) -> bool:
    """Whether agent, user and grant are alive, so that minted tokens may be sent again."""
    return is_alive(request)


@transaction.atomic(durable=True)
def finish_callback(request_id: UUID, *, arrived: bool, now: datetime) -> None:
    """Records that the callback arrived or cannot arrive: delivering → redeemed | failed.

    Erases the callback data.
    """
    request = _lock(request_id)
    if request.state == State.DELIVERING:
        if arrived:
            _end(request, State.REDEEMED, SYSTEM, now, redeemed_at=now)
        else:
            _end(request, State.FAILED, SYSTEM, now)
    delivery.erase([request.pk])


def drop_callback(request: BackchannelRequest, now: datetime) -> None:
    """Drops the callback because the agent is suspended or has no notification endpoint.

    Runs in the caller's transaction.
    """
    if request.state == State.DELIVERING:
        _end(request, State.FAILED, SYSTEM, now)
    delivery.erase([request.pk])


def end_dead(request: BackchannelRequest, now: datetime) -> None:
    """Ends a request whose tokens may not be pushed, because agent, user or grant is no longer
    active. Runs in the caller's transaction with the row locked.
    """
    if request.expires_at > now or request.state == State.DELIVERING:
        _end(request, State.FAILED if request.state == State.DELIVERING else State.REVOKED, SYSTEM, now)


@transaction.atomic(durable=True)
def cancel(agent: Agent, unverified_auth_req_id: str, now: datetime) -> bool:
    """The agent cancels its own request (RFC 7009): the prompt is withdrawn, and so is an approval
    that was not yet redeemed.

    False if the agent has no such request or it has already ended.
    """
    mine = BackchannelRequest.objects.filter(agent=agent, auth_req_id_digest=digest(unverified_auth_req_id))
    found = mine.values_list("pk", flat=True).first()
    if found is None:
        return False
    request = _lock(found)
    # Expired: whether or not it was already swept.
    if State(request.state) in REQUEST_STATES.final_states or request.expires_at <= now:
        return False
    _withdraw(request, f"agent:{agent.client_id}", now)
    delivery.settle(request, now)
    return True


@transaction.atomic(durable=True)
def stop_agent(agent: Agent, user: User, now: datetime) -> None:
    """The user stops an agent: open prompts are cancelled, approvals that were not redeemed and all
    grants are revoked.
    """
    agents.stop(agent, user, now)
    _withdraw_open(BackchannelRequest.objects.filter(agent=agent, user=user), f"user:{user.id}", now)
    revoke_grants_between(agent, user, now)


@transaction.atomic(durable=True)
def withdraw_all(agent: Agent, actor: str, now: datetime) -> None:
    """An administrator stops an agent: every open request and unredeemed approval of it ends, for
    all users.
    """
    _withdraw_open(BackchannelRequest.objects.filter(agent=agent), actor, now)


def end_requests_of(agent: Agent, actor: str, reason: str, now: datetime) -> None:
    """Like `withdraw_all`, in the caller's transaction.

    The events of the grants carry the reason.
    """
    _withdraw_open(BackchannelRequest.objects.filter(agent=agent), actor, now)


def _withdraw_open(theirs: QuerySet[BackchannelRequest], actor: str, now: datetime) -> None:
    still = theirs.filter(state__in=REQUEST_STATES.open_states).select_related("agent", "user")
    for request in still.order_by("id").select_for_update(of=("self",)):
        _withdraw(request, actor, now)
        delivery.enqueue(request, now)


@transaction.atomic(durable=True)
def expire_due(now: datetime, batch: int) -> int:
    """Expires due requests, or fails them if they were being delivered; at most `batch`.

    Concurrent sweepers share the work.
    """
    due = list(
        BackchannelRequest.objects.filter(state__in=REQUEST_STATES.open_states, expires_at__lte=now)
        .select_related("agent", "user")
        .order_by("expires_at")
        .select_for_update(skip_locked=True, of=("self",))[:batch]
    )
    for request in due:
        if request.state == State.DELIVERING:
            _end(request, State.FAILED, SYSTEM, now)
            delivery.settle(request, now)
        else:
            _end(request, State.EXPIRED, SYSTEM, now)
            delivery.enqueue(request, now)
    return len(due)


def _lock(request_id: UUID) -> BackchannelRequest:
    return BackchannelRequest.objects.select_related("agent", "user").select_for_update(of=("self",)).get(pk=request_id)


def _withdraw(request: BackchannelRequest, actor: str, now: datetime) -> None:
    """The agent or the user ends the request: pending → cancelled, approved → revoked, delivering →
    failed.
    """
    ends = {State.PENDING: State.CANCELLED, State.APPROVED: State.REVOKED, State.DELIVERING: State.FAILED}
    _end(request, ends[State(request.state)], actor, now, decided_at=now)


_EVENT_OF_END = {
    State.CANCELLED: events.REQUEST_CANCELLED, State.REVOKED: events.REQUEST_REVOKED,
    State.EXPIRED: events.REQUEST_EXPIRED, State.FAILED: events.REQUEST_FAILED,
    State.REDEEMED: events.REQUEST_REDEEMED,
}  # fmt: skip


def _end(request: BackchannelRequest, target: State, actor: str, now: datetime, **fields: Any) -> None:
    """Moves a locked request to a final state and ends its prompts and its grant."""
    was = State(request.state)
    if not REQUEST_STATES.move(BackchannelRequest.objects.filter(pk=request.pk), target, leaving=[was], **fields):
        raise RuntimeError(f"request {request.pk} is no longer {was}, although it is locked")
    request.state = target
    # Only a revocation goes on if its event cannot be written.
    write = record if target in (State.REDEEMED, State.EXPIRED) else record_revocation
    write(_EVENT_OF_END[target], about(request, actor), now, was=was, **_audit_facts(request))
    wake(topics_of(request))
    if was is State.PENDING:
        for prompt in request.prompts.all():
            devices.withdraw_notification(prompt.id, now)
    if request.grant_id and target is not State.REDEEMED:
        revoke_grant(request.grant_id, request.agent, request.user, now, actor=actor)


def _move(
    request: BackchannelRequest, target: State, now: datetime, *, leaving: Sequence[State] = (), **fields: Any
) -> bool:
    """The one conditional UPDATE: from a state that `target` may follow, not expired, agent and
    user active.
    """
    live = BackchannelRequest.objects.alive().filter(pk=request.pk, expires_at__gt=now)
    moved = REQUEST_STATES.move(live, target, leaving=leaving, **fields)
    if moved:
        request.state = target
        wake(topics_of(request))
    return moved


def _audit_facts(request: BackchannelRequest) -> dict[str, str]:
    """The event details that the user reads at /activity."""
    return {"agent": request.content["agent"], "headline": headline(request.content)}


def about(request: BackchannelRequest, actor: str) -> About:
    return About(actor, request.agent.client_id, request.user_id, request.id, request.grant_id)
