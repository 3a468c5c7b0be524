"""Whether a request is accepted, and whether an answer to a prompt counts. Pure: facts in, verdict out."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto

from operations.risk import Assurance, Risk, is_supported


class RequestRefusal(Enum):
    UNKNOWN_USER = auto()  # unknown, disabled, or this agent may not ask them: one answer
    MIXED_OPERATIONS = auto()
    ASSURANCE_MISSING = auto()
    TOO_MANY_PENDING = auto()
    OTHER_REQUEST = auto()  # this Idempotency-Key belongs to another request


@dataclass(frozen=True)
class Acceptance:
    """The request is stored and answered."""

    assurance: Assurance  # what the approver must have; the request stores it, and later checks read only that
    decoy_reason: str | None = None  # why no user is prompted, so that the request can only end; for the audit log


RequestVerdict = Acceptance | RequestRefusal


@dataclass(frozen=True)
class RequestFacts:
    may_ask_user: bool
    hides_users: bool  # the agent must not learn who exists
    risks: Collection[Risk]  # one per authorization_details object
    assurances: Collection[Assurance]
    acr_values: Sequence[str]  # as requested, in order of preference
    pending: int  # unanswered requests of this agent to this user
    max_pending: int


def judge_request(facts: RequestFacts) -> RequestVerdict:
    """Judges the user first, then the operations, the assurance and the number of pending requests.

    If users are hidden, no refusal depends on the user or on whether there is one.
    """
    if not facts.may_ask_user and not facts.hides_users:
        return RequestRefusal.UNKNOWN_USER
    # One approval is for one dangerous operation, so that no second operation hides behind it.
    if len(facts.risks) > 1 and any(risk is not Risk.ROUTINE for risk in facts.risks):
        return RequestRefusal.MIXED_OPERATIONS
    assurance = _choose_assurance(facts.assurances, facts.acr_values)
    if assurance is None:
        return RequestRefusal.ASSURANCE_MISSING
    if not facts.may_ask_user:
        return Acceptance(assurance, decoy_reason="no user whom this agent may ask, or not with this user_code")
    if facts.pending < facts.max_pending:
        return Acceptance(assurance)
    if facts.hides_users:
        reason = "too many requests of this agent wait for the user's answer"
        return Acceptance(assurance, decoy_reason=reason)
    return RequestRefusal.TOO_MANY_PENDING


def _choose_assurance(demanded: Collection[Assurance], acr_values: Sequence[str]) -> Assurance | None:
    """The first of `acr_values` that this server can give and that meets the operations' demands.

    Ignores a value that this server does not know or that is weaker than the operations demand: the ID token's acr
    says which assurance was reached (CIBA Core 7.1). None: the request needs more than this server can give.
    """
    if not all(is_supported(assurance) for assurance in demanded):
        return None
    ranks = list(Assurance)
    minimum = max(demanded, key=ranks.index, default=Assurance.SESSION)
    wanted = [one for name in acr_values for one in ranks[ranks.index(minimum) :] if one == name]
    return next((one for one in wanted if is_supported(one)), None) if wanted else minimum


def lifetime_of_request(parsed: int | None, usual: int, max_length: int) -> timedelta:
    """`requested_expiry` may shorten or, up to `max_length`, lengthen the usual lifetime (seconds)."""
    return timedelta(seconds=min(parsed or usual, max_length))


def time_to_answer(lifetime: timedelta, time_to_fetch: timedelta) -> timedelta:
    """How long the user may answer. In the rest of the lifetime, the agent can fetch a late answer."""
    return lifetime - min(time_to_fetch, lifetime / 2)


class AnswerVerdict(Enum):
    COUNT = auto()
    UNKNOWN = auto()  # another user's prompt
    SIGN_IN_AGAIN = auto()
    TOO_LATE = auto()
    ANSWERED = auto()


@dataclass(frozen=True)
class AnswerFacts:
    is_own: bool  # the signed-in user is the approver of the prompt
    is_pending: bool
    is_alive: bool
    is_approval: bool
    has_assurance: bool
    expires_at: datetime


def judge_answer(facts: AnswerFacts, now: datetime) -> AnswerVerdict:
    """A denial needs only a signed-in user, because a denial is always safe."""
    if not facts.is_own:
        return AnswerVerdict.UNKNOWN
    if not facts.is_pending:
        return AnswerVerdict.ANSWERED
    if facts.expires_at <= now or not facts.is_alive:
        return AnswerVerdict.TOO_LATE
    if facts.is_approval and not facts.has_assurance:
        return AnswerVerdict.SIGN_IN_AGAIN
    return AnswerVerdict.COUNT
