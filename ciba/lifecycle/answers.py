"""A user's answer to a prompt: the evidence, and the grant of an approval."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction

from accounts.models import User
from audit import events
from audit.record import About, record
from ciba.callbacks import state as callbacks
from ciba.lifecycle.transitions import about, audit_facts, move_request
from ciba.models import Approval, BackchannelRequest, Prompt, find_prompt_to_answer, set_answer
from ciba.policy import AnswerFacts, AnswerVerdict, judge_answer
from ciba.states import State
from devices import lifecycle as devices
from foundation.handles import b64url, new_id
from foundation.inserts import insert
from oauth.models import Grant
from operations.models import OFFLINE_ACCESS
from operations.risk import Assurance


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
    prompt = find_prompt_to_answer(prompt_id)
    if prompt is None:
        return AnswerVerdict.UNKNOWN
    verdict = judge_answer(_answer_facts(prompt, answerer, target), now)
    if verdict is not AnswerVerdict.COUNT:
        if verdict is AnswerVerdict.UNKNOWN:
            by = About(f"user:{answerer.user.id}", request_id=prompt.request_id)
            record(events.PROMPT_REFUSED, by, now, reason="another user's prompt", prompt=str(prompt.id))
        return verdict
    # Tokens can still be fetched after an approval at the last moment, but not after the end of the
    # grant.
    end = min(prompt.request.auth_req_id_expires_at, _grant_end(prompt.request, now))
    # The grant is inserted below, in this transaction, which checks the reference at its end.
    grant_id = new_id() if target is State.APPROVED else None
    if not move_request(prompt.request, target, now, decided_at=now, expires_at=end, grant=grant_id):
        return AnswerVerdict.ANSWERED  # another answer, or the expiry, came first
    prompt.request.expires_at = end
    set_answer(prompt, Prompt.Answer(target), now)
    devices.withdraw_notification(prompt.id, now)
    if grant_id:
        _grant(prompt, grant_id, answerer, now)
    else:
        by = about(prompt.request, f"user:{answerer.user.id}")
        record(events.REQUEST_DENIED, by, now, prompt=str(prompt.id), **audit_facts(prompt.request))
    callbacks.enqueue(prompt.request, now)
    return verdict


def _answer_facts(prompt: Prompt, answerer: Approver, target: State) -> AnswerFacts:
    request = prompt.request
    return AnswerFacts(
        is_own=prompt.approver_id == answerer.user.id and answerer.user.is_active,
        is_pending=request.state == State.PENDING,
        is_alive=prompt.is_alive,  # type: ignore[attr-defined]  # annotated
        is_approval=target is State.APPROVED,
        has_assurance=answerer.assurance == request.assurance,
        expires_at=request.expires_at,
    )


def _grant(prompt: Prompt, grant_id: UUID, answerer: Approver, now: datetime) -> None:
    request = prompt.request
    if answerer.signed_in_at is None:
        raise RuntimeError("an approval without a sign-in must not count")
    approval = Approval(
        prompt=prompt,
        assurance=request.assurance,
        prompt_digest=prompt.prompt_digest,
        signed_in_at=answerer.signed_in_at,
        address=answerer.address,
        user_agent=answerer.user_agent[:300],
        at=now,
    )
    grant = Grant(
        id=grant_id,
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
    insert([approval])
    insert([grant])
    request.grant = grant
    record(
        events.REQUEST_APPROVED, about(request, f"user:{answerer.user.id}"), now,
        prompt=str(prompt.id), prompt_digest=b64url(bytes(prompt.prompt_digest)), assurance=request.assurance,
        **audit_facts(request),
        operation_digest=request.operation_digest, signed_in_at=answerer.signed_in_at.isoformat(),
        address=answerer.address, uses=request.uses, grant_expires_at=grant.expires_at.isoformat(),
    )  # fmt: skip


def _grant_end(request: BackchannelRequest, approved_at: datetime) -> datetime:
    return approved_at + timedelta(seconds=request.grant_lifetime)
