"""May this be lent, renewed? Facts in, verdict out. Pure."""

from dataclasses import dataclass
from enum import Enum, auto

MOST_A_MINUTE = 60  # leases bought by one agent


@dataclass(frozen=True)
class Quota:
    """`whose` are counted, told to the agent: the agent's, the person's, the role's or the backend's."""

    whose: str
    live: int
    most: int

    @property
    def is_full(self) -> bool:
        return self.live >= self.most


class BuyVerdict(Enum):
    BUY = auto()
    NOT_LENDING = auto()
    UNREACHABLE = auto()
    FULL = auto()
    TOO_FAST = auto()


@dataclass(frozen=True)
class BuyFacts:
    """Whether the agent may ask for the role at all, and has the grant, was looked at before."""

    role_is_active: bool
    backend_lends: bool
    is_recovering: bool
    backend_is_reachable: bool  # the circuit breaker is closed
    quotas: list[Quota]
    bought_in_last_minute: int

    @property
    def full(self) -> Quota | None:
        return next((quota for quota in self.quotas if quota.is_full), None)


def judge_buy(facts: BuyFacts) -> BuyVerdict:
    if not facts.role_is_active or not facts.backend_lends or facts.is_recovering:
        return BuyVerdict.NOT_LENDING
    if not facts.backend_is_reachable:
        return BuyVerdict.UNREACHABLE
    if facts.full:
        return BuyVerdict.FULL
    if facts.bought_in_last_minute >= MOST_A_MINUTE:
        return BuyVerdict.TOO_FAST
    return BuyVerdict.BUY


class RenewVerdict(Enum):
    RENEW = auto()
    ENDED = auto()
    AT_MOST = auto()
    NOT_LENDING = auto()
    NOT_ALLOWED = auto()


@dataclass(frozen=True)
class RenewFacts:
    is_active: bool  # the lease's state, and its time is not up
    grant_is_alive: bool  # and with it agent, person and resource
    is_lent: bool  # the role is active, its backend lends, and nothing is being recovered
    may_ask: bool  # the role's operation type is active, and still among the agent's
    is_longer: bool  # renewing would move its end


def judge_renew(facts: RenewFacts) -> RenewVerdict:
    if not facts.is_active or not facts.grant_is_alive:
        return RenewVerdict.ENDED
    if not facts.is_lent:
        return RenewVerdict.NOT_LENDING
    if not facts.may_ask:
        return RenewVerdict.NOT_ALLOWED
    if not facts.is_longer:
        return RenewVerdict.AT_MOST
    return RenewVerdict.RENEW
