"""The use cases of a request, one transaction each. The only module that writes `state`.

A state changes by one conditional UPDATE whose WHERE is the transition table; the row count decides
who won. Its audit event is in the same transaction. Lock order: request, then grant. After the commit
whoever waits for it is woken (watching.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.db.models import QuerySet

from accounts.models import User
from audit import events
from audit.record import SYSTEM, About, record, record_revocation
from ciba import delivery, repeats
from ciba.models import Approval, BackchannelRequest, Prompt, is_alive
from ciba.parameters import Asked
from ciba.policy import (
    AnswerFacts,
    AnswerVerdict,
    AskFacts,
    AskVerdict,
    choose_assurance,
    judge_answer,
    judge_ask,
    lifetime_of_request,
    time_to_answer,
    why_nobody,
)
from ciba.repeats import Earlier, Repeatable
from ciba.showing import Shown, describe_access, headline, prompt_digest, show_operation
from ciba.states import TERMINAL, TRANSITIONS, State, sources
from ciba.watching import topics_of
from clients import lifecycle as agents
from clients.models import Agent
from devices import lifecycle as devices
from foundation.handles import b64url, digest, new_handle, new_id, random_bytes
from foundation.wakeups import wake
from oauth.lifecycle import requested_digest, revoke_grant, revoke_grants_between
from oauth.models import Grant
from oauth.requesting import Requested
from operations import wording
from operations.models import OFFLINE_ACCESS
from operations.risk import Assurance, Risk


@dataclass(frozen=True)
class Opened:
    """An accepted request. The handle is not stored; where the agent may repeat the request, it is kept sealed."""

    auth_req_id: str
    request: BackchannelRequest


@transaction.atomic(durable=True)
def open(
    agent: Agent,
    user: User | None,
    asked: Asked,
    requested: Requested,
    now: datetime,
    *,
    request_object_digest: str = "",
    repeatable: Repeatable | None = None,
) -> Opened | AskVerdict:
    """Stores the question as it will be shown, one prompt for the person, and the event.

    `user` is somebody whom this agent may ask (clients/asking.py), or None. `repeatable`: what it is to be known by,
    where the agent may repeat it; one that was opened meanwhile is the answer.
    """
    life = lifetime_of_request(asked.requested_expiry, settings.REQUEST_LIFETIME, settings.REQUEST_LIFETIME_MAX)
    request_id, auth_req_id = new_id(), new_handle()
    if repeatable and (earlier := repeats.claim(agent, repeatable, request_id, auth_req_id, until=now + life, now=now)):
        return _answer_again(earlier, repeatable, now)
    facts = _ask_facts(agent, user, asked, requested, now)
    verdict = judge_ask(facts)
    if verdict not in (AskVerdict.ASK, AskVerdict.ASK_NOBODY):
        transaction.set_rollback(True)  # the key stays free
        return verdict
    user = user if verdict is AskVerdict.ASK else None
    assurance = choose_assurance(facts.assurances, asked.acr_values) or Assurance.SESSION
    request = _store(request_id, agent, user, asked, requested, auth_req_id, assurance, life, now)
    prompt = _put_prompt(request, user)
    devices.call(user, prompt.id, now, request.expires_at)
    wake(topics_of(request))
    record(
        events.REQUEST_OPENED, about(request, f"agent:{agent.client_id}"), now,
        **_told(request), operation_digest=request.operation_digest, scope=request.scopes,
        authorization_details=request.authorization_details, binding_message=request.binding_message,
        types=[f"{v.operation_type.name} v{v.number}" for v in requested.versions],
        prompt_closes_at=request.expires_at.isoformat(), expires_at=request.auth_req_id_expires_at.isoformat(),
        request_object_digest=request_object_digest or None,
        put_to_nobody=why_nobody(facts) if user is None else None,
    )  # fmt: skip
    return Opened(auth_req_id, request)


def find_earlier(agent: Agent, repeatable: Repeatable, now: datetime) -> Opened | AskVerdict | None:
    """What this agent was answered under the same key, where that request's life lasts. Nobody is asked again."""
    earlier = repeats.find(agent, repeatable, now)
    if earlier is None:
        return None
    with transaction.atomic(durable=True):
        return _answer_again(earlier, repeatable, now)


def _answer_again(earlier: Earlier, repeatable: Repeatable, now: datetime) -> Opened | AskVerdict:
    if earlier.asked_digest != repeatable.asked_digest:
        return AskVerdict.OTHER_REQUEST
    request = earlier.request
    record(events.REQUEST_REPEATED, about(request, f"agent:{request.agent.client_id}"), now)
    return Opened(earlier.auth_req_id, request)


def _ask_facts(agent: Agent, user: User | None, asked: Asked, requested: Requested, now: datetime) -> AskFacts:
    # Counted under a lock: of many that ask at once, no more get through than may wait. Where people are hidden it
    # is the agent's, or who waits for whom would tell that somebody is there.
    if settings.HIDE_UNKNOWN_USERS:
        Agent.objects.select_for_update(no_key=True).values_list("pk").get(pk=agent.pk)
    elif user is not None:
        User.objects.select_for_update(no_key=True).values_list("pk").get(pk=user.pk)
    asked_id = user.pk if user else new_id()  # nobody's are not counted, in the time that it takes to find none
    pending = BackchannelRequest.objects.filter(agent=agent, user=asked_id, state=State.PENDING, expires_at__gt=now)
    return AskFacts(
        may_ask_person=user is not None,
        hides_people=settings.HIDE_UNKNOWN_USERS,
        risks=[Risk(version.risk) for version in requested.versions],
        assurances=[Assurance(version.assurance) for version in requested.versions],
        acr_values=asked.acr_values,
        pending=pending.count(),
        most_pending=settings.MAX_PENDING_PER_PERSON,
    )


def _store(
    request_id: UUID,
    agent: Agent,
    user: User | None,
    asked: Asked,
    requested: Requested,
    auth_req_id: str,
    assurance: Assurance,
    life: timedelta,
    now: datetime,
) -> BackchannelRequest:
    versions, until = requested.versions, now + life
    closes_at = now + time_to_answer(life, timedelta(seconds=settings.TIME_TO_FETCH))
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
        binding_message=asked.binding_message,
        shown=_compose(agent, requested),
        wording_version=wording.VERSION,
        interval=settings.POLL_INTERVAL,
        created_at=now,
        expires_at=closes_at,
        auth_req_id_expires_at=until,
        **delivery.keep(agent, request_id, auth_req_id, asked.client_notification_token, until),
    )
    request.versions.add(*versions)
    return request


def _grant_lifetime(requested: Requested) -> int:
    """Seconds that what is approved lasts."""
    if requested.stays:
        return int(settings.GRANT_LIFETIME)
    return min([version.lifetime for version in requested.versions] or [int(settings.ACCESS_TOKEN_LIFETIME)])


def _compose(agent: Agent, requested: Requested) -> Shown:
    operations = [
        show_operation(details, title=version.title, summary=version.summary, risk=version.risk, schema=version.schema)
        for details, version in zip(requested.authorization_details, requested.versions, strict=True)
    ]
    return {
        "agent": str(agent.name),
        "resource": requested.resource.name if requested.resource else None,
        "operations": operations,
        "access": describe_access(
            requested.identity_scopes, [scope.description for scope in requested.scopes], stays=requested.stays
        ),
    }


def _put_prompt(request: BackchannelRequest, approver: User | None) -> Prompt:
    nonce = random_bytes(32)
    bound = prompt_digest(
        operation_digest=request.operation_digest,
        shown=request.shown,
        binding_message=request.binding_message,
        request_id=request.id,
        expires_at=request.expires_at,
        nonce=nonce,
    )
    return Prompt.objects.create(id=new_id(), request=request, approver=approver, nonce=nonce, prompt_digest=bound)


@dataclass(frozen=True)
class Answerer:
    """Who answers: always the signed-in person of this session, never somebody whom the body names."""

    user: User
    assurance: Assurance | None  # what this session gives now
    signed_in_at: datetime | None
    address: str
    user_agent: str


def approve(prompt_id: UUID, answerer: Answerer, now: datetime) -> AnswerVerdict:
    """A yes: the evidence, the grant with its uses, and the event, together or not at all."""
    return _answer(prompt_id, answerer, State.APPROVED, now)


def deny(prompt_id: UUID, answerer: Answerer, now: datetime) -> AnswerVerdict:
    return _answer(prompt_id, answerer, State.DENIED, now)


@transaction.atomic(durable=True)
def _answer(prompt_id: UUID, answerer: Answerer, target: State, now: datetime) -> AnswerVerdict:
    prompt = Prompt.objects.select_related("request__agent", "request__user").filter(pk=prompt_id).first()
    if prompt is None:
        return AnswerVerdict.UNKNOWN
    verdict = judge_answer(_answer_facts(prompt, answerer, target), now)
    if verdict is not AnswerVerdict.COUNT:
        if verdict is AnswerVerdict.UNKNOWN:
            by = About(f"user:{answerer.user.id}", request_id=prompt.request_id)
            record(events.PROMPT_REFUSED, by, now, reason="not this person's prompt", prompt=str(prompt.id))
        return verdict
    # A yes at the last moment can still be fetched; but nobody fetches tokens of a grant that has run out.
    end = min(prompt.request.auth_req_id_expires_at, _grant_end(prompt.request, now))
    if not _move(prompt.request, target, now, decided_at=now, expires_at=end):
        return AnswerVerdict.ANSWERED  # somebody, or time, was faster
    prompt.request.expires_at = end
    prompt.answer = Prompt.Answer.APPROVED if target is State.APPROVED else Prompt.Answer.DENIED
    prompt.answered_at = now
    prompt.save(update_fields=["answer", "answered_at"])
    devices.call_off(prompt.id, now)
    if target is State.APPROVED:
        _grant(prompt, answerer, now)
    else:
        by = about(prompt.request, f"user:{answerer.user.id}")
        record(events.REQUEST_DENIED, by, now, prompt=str(prompt.id), **_told(prompt.request))
    delivery.owe(prompt.request, now)
    return verdict


def _answer_facts(prompt: Prompt, answerer: Answerer, target: State) -> AnswerFacts:
    request = prompt.request
    return AnswerFacts(
        is_own=prompt.approver_id == answerer.user.id and answerer.user.is_active,
        is_pending=request.state == State.PENDING,
        is_alive=is_alive(request),
        is_approval=target is State.APPROVED,
        has_assurance=answerer.assurance == request.assurance,
        expires_at=request.expires_at,
    )


def _grant(prompt: Prompt, answerer: Answerer, now: datetime) -> None:
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
        **_told(request),
        operation_digest=request.operation_digest, signed_in_at=answerer.signed_in_at.isoformat(),
        address=answerer.address, uses=request.uses, grant_expires_at=grant.expires_at.isoformat(),
    )  # fmt: skip


def _grant_end(request: BackchannelRequest, approved_at: datetime) -> datetime:
    return approved_at + timedelta(seconds=request.grant_lifetime)


def expire(request: BackchannelRequest, now: datetime) -> bool:
    """pending → expired, before an agent is told so: an answer that was given in time does not come after that.

    False where it was answered, or ended, meanwhile. Takes part in the transaction that answers the poll.
    """
    locked = _lock(request.pk)
    if locked.state != State.PENDING:
        return False
    _end(locked, State.EXPIRED, SYSTEM, now)
    delivery.owe(locked, now)
    request.state = locked.state
    return True


def redeem(request: BackchannelRequest, now: datetime) -> bool:
    """approved → redeemed, once. Takes part in the transaction that mints the tokens."""
    if not connection.in_atomic_block:
        raise RuntimeError("redeeming is part of the transaction that mints")
    # Not from delivering: those tokens are made already.
    if not _move(request, State.REDEEMED, now, leaving=[State.APPROVED], redeemed_at=now):
        return False
    record(events.REQUEST_REDEEMED, about(request, f"agent:{request.agent.client_id}"), now, **_told(request))
    delivery.settle(request, now)
    return True


def start_delivery(request: BackchannelRequest, now: datetime) -> bool:
    """approved → delivering, once. Takes part in the transaction that mints what is pushed."""
    if not connection.in_atomic_block:
        raise RuntimeError("delivering starts in the transaction that mints")
    if not _move(request, State.DELIVERING, now):
        return False
    record(events.REQUEST_DELIVERING, about(request, SYSTEM), now, **_told(request))
    return True


def may_go_on(request: BackchannelRequest) -> bool:
    """Agent, person and grant are alive, so that tokens that were made may be sent once more."""
    return is_alive(request)


@transaction.atomic(durable=True)
def finish_delivery(request_id: UUID, *, arrived: bool, now: datetime) -> None:
    """The agent was told, or cannot be: delivering → redeemed | failed, and what was kept is erased."""
    request = _lock(request_id)
    if request.state == State.DELIVERING:
        if arrived:
            _end(request, State.REDEEMED, SYSTEM, now, redeemed_at=now)
        else:
            _end(request, State.FAILED, SYSTEM, now)
    delivery.erase([request.pk])


def drop_delivery(request: BackchannelRequest, now: datetime) -> None:
    """Nobody is called back any more (the agent is suspended, or has no address). In the caller's transaction."""
    if request.state == State.DELIVERING:
        _end(request, State.FAILED, SYSTEM, now)
    delivery.erase([request.pk])


def end_dead(request: BackchannelRequest, now: datetime) -> None:
    """What was to be pushed may not be: agent, person or grant is gone. In the caller's transaction, row locked."""
    if request.expires_at > now or request.state == State.DELIVERING:
        _end(request, State.FAILED if request.state == State.DELIVERING else State.REVOKED, SYSTEM, now)


@transaction.atomic(durable=True)
def cancel(agent: Agent, unverified_auth_req_id: str, now: datetime) -> bool:
    """The agent withdraws its own request (RFC 7009): the prompt goes, and so does an approval not yet fetched.

    False where it has no such request, or that has ended already.
    """
    mine = BackchannelRequest.objects.filter(agent=agent, auth_req_id_digest=digest(unverified_auth_req_id))
    found = mine.values_list("pk", flat=True).first()
    if found is None:
        return False
    request = _lock(found)
    if State(request.state) in TERMINAL or request.expires_at <= now:  # whether or not it was swept yet
        return False
    _withdraw(request, f"agent:{agent.client_id}", now)
    delivery.settle(request, now)
    return True


@transaction.atomic(durable=True)
def stop_agent(agent: Agent, person: User, now: datetime) -> None:
    """The person's stop: open questions are cancelled, waiting approvals and every grant revoked."""
    agents.stop(agent, person, now)
    _withdraw_open(BackchannelRequest.objects.filter(agent=agent, user=person), f"user:{person.id}", now)
    revoke_grants_between(agent, person, now)


@transaction.atomic(durable=True)
def withdraw_all(agent: Agent, actor: str, now: datetime) -> None:
    """An administrator's stop: every open question and waiting approval of an agent ends, whoever was asked."""
    _withdraw_open(BackchannelRequest.objects.filter(agent=agent), actor, now)


def end_requests_of(agent: Agent, actor: str, reason: str, now: datetime) -> None:
    """The same in the caller's transaction; the grants that come of it say why."""
    _withdraw_open(BackchannelRequest.objects.filter(agent=agent), actor, now)


def _withdraw_open(theirs: QuerySet[BackchannelRequest], actor: str, now: datetime) -> None:
    still = theirs.filter(state__in=list(TRANSITIONS)).select_related("agent", "user")
    for request in still.order_by("id").select_for_update(of=("self",)):
        _withdraw(request, actor, now)
        delivery.owe(request, now)


@transaction.atomic(durable=True)
def expire_due(now: datetime, batch: int) -> int:
    """What ran out of time → expired, or failed where it was being delivered; at most `batch`. Sweepers share."""
    due = list(
        BackchannelRequest.objects.filter(state__in=list(TRANSITIONS), expires_at__lte=now)
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
            delivery.owe(request, now)
    return len(due)


def _lock(request_id: UUID) -> BackchannelRequest:
    return BackchannelRequest.objects.select_related("agent", "user").select_for_update(of=("self",)).get(pk=request_id)


def _withdraw(request: BackchannelRequest, actor: str, now: datetime) -> None:
    """The agent's or the person's own end of it: pending → cancelled, approved → revoked, delivering → failed."""
    ends = {State.PENDING: State.CANCELLED, State.APPROVED: State.REVOKED, State.DELIVERING: State.FAILED}
    _end(request, ends[State(request.state)], actor, now, decided_at=now)


_EVENT_OF_END = {
    State.CANCELLED: events.REQUEST_CANCELLED, State.REVOKED: events.REQUEST_REVOKED,
    State.EXPIRED: events.REQUEST_EXPIRED, State.FAILED: events.REQUEST_FAILED,
    State.REDEEMED: events.REQUEST_REDEEMED,
}  # fmt: skip


def _end(request: BackchannelRequest, target: State, actor: str, now: datetime, **fields: Any) -> None:
    """Into an end, for a row that this transaction has locked; with what hangs on it: its prompts and its grant."""
    was = State(request.state)
    if target not in TRANSITIONS[was]:
        raise RuntimeError(f"nothing goes from {was} to {target}")
    BackchannelRequest.objects.filter(pk=request.pk).update(state=target, **fields)
    request.state = target
    # Only taking away is never blocked by an event that cannot be written.
    write = record if target in (State.REDEEMED, State.EXPIRED) else record_revocation
    write(_EVENT_OF_END[target], about(request, actor), now, was=was, **_told(request))
    wake(topics_of(request))
    if was is State.PENDING:
        for prompt in request.prompts.all():
            devices.call_off(prompt.id, now)
    if request.grant_id and target is not State.REDEEMED:
        revoke_grant(request.grant_id, request.agent, request.user, now, actor=actor)


def _move(
    request: BackchannelRequest, target: State, now: datetime, *, leaving: Sequence[State] = (), **fields: Any
) -> bool:
    """The one conditional UPDATE: from a state that `target` may follow, in time, agent and person active."""
    moved = (
        BackchannelRequest.objects.alive()
        .filter(pk=request.pk, state__in=leaving or sources(target), expires_at__gt=now)
        .update(state=target, **fields)
    )
    if moved:
        request.state = target
        wake(topics_of(request))
    return bool(moved)


def _told(request: BackchannelRequest) -> dict[str, str]:
    """What the person reads of an event at /activity."""
    return {"agent": request.shown["agent"], "headline": headline(request.shown)}


def about(request: BackchannelRequest, actor: str) -> About:
    return About(actor, request.agent.client_id, request.user_id, request.id, request.grant_id)
