"""May this lease be issued or renewed? Facts in, verdict out. Pure."""

from dataclasses import dataclass
from enum import Enum, auto

MAX_PER_MINUTE = 60  # lease requests of one agent


@dataclass(frozen=True)
class Quota:
    """A quota.

    `counted` names it in the answer: the agent's, the user's, the role's or the backend's.
    """

    counted: str
    live: int
    max_live: int

    @property
    def is_full(self) -> bool:
        return self.live >= self.max_live


class LeaseVerdict(Enum):
    ISSUE = auto()
    NOT_ISSUING = auto()
    UNREACHABLE = auto()
    FULL = auto()
    TOO_FAST = auto()


@dataclass(frozen=True)
class LeaseFacts:
    """The caller has already checked that the agent may ask for the role and has the grant."""

    role_is_active: bool
    backend_issues: bool
    is_recovering: bool
    backend_is_reachable: bool  # the circuit breaker is closed
    quotas: list[Quota]
    requested_in_last_minute: int

    @property
    def full(self) -> Quota | None:
        return next((quota for quota in self.quotas if quota.is_full), None)


def judge_lease_request(facts: LeaseFacts) -> LeaseVerdict:
    if not facts.role_is_active or not facts.backend_issues or facts.is_recovering:
        return LeaseVerdict.NOT_ISSUING
    if not facts.backend_is_reachable:
        return LeaseVerdict.UNREACHABLE
    if facts.full:
        return LeaseVerdict.FULL
    if facts.requested_in_last_minute >= MAX_PER_MINUTE:
        return LeaseVerdict.TOO_FAST
    return LeaseVerdict.ISSUE


class RenewVerdict(Enum):
    RENEW = auto()
    ENDED = auto()
    AT_MAXIMUM = auto()
    NOT_ISSUING = auto()
    NOT_ALLOWED = auto()


@dataclass(frozen=True)
class RenewFacts:
    is_active: bool  # in state active, and not expired
    grant_is_alive: bool  # and so agent, user and resource are active
    is_issuing: bool  # the role is active, its backend issues, and no recovery is on
    may_ask: bool  # the role's operation type is active and still allowed for the agent
    is_longer: bool  # the renewal would move the lease's end


def judge_renew(facts: RenewFacts) -> RenewVerdict:
    if not facts.is_active or not facts.grant_is_alive:
        return RenewVerdict.ENDED
    if not facts.is_issuing:
        return RenewVerdict.NOT_ISSUING
    if not facts.may_ask:
        return RenewVerdict.NOT_ALLOWED
    if not facts.is_longer:
        return RenewVerdict.AT_MAXIMUM
    return RenewVerdict.RENEW
