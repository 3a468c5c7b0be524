"""What an authorization request needs of the person now (OpenID Connect Core 3.1.2.3). Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto

from oauth.authorization_request import Asked


class Interaction(Enum):
    GO_ON = auto()  # consented before, to all of it
    ASK = auto()  # show the consent page
    SIGN_IN = auto()
    LOGIN_REQUIRED = auto()
    CONSENT_REQUIRED = auto()
    STOPPED = auto()  # the person has stopped this agent


@dataclass(frozen=True)
class InteractionFacts:
    asked_at: datetime  # when the request came, before any sign-in that it led to
    signed_in_at: datetime | None  # None: nobody is signed in
    needs_sign_in_since: datetime | None
    is_wanted_person: bool  # nobody in particular was wanted, or this one
    is_stopped: bool
    is_remembered: bool
    may_consent: bool  # signed in recently enough to say yes


def needs_sign_in_since(asked: Asked, asked_at: datetime, acr_age: timedelta | None) -> datetime | None:
    """The oldest sign-in that will do, or None. `acr_age`: how old it may be for the wanted `acr`."""
    oldest = [asked_at] if asked.prompts & {"login", "select_account"} else []
    if asked.max_age is not None:
        oldest.append(asked_at - timedelta(seconds=asked.max_age))
    if acr_age is not None:
        oldest.append(asked_at - acr_age)
    return max(oldest, default=None)


def judge_interaction(facts: InteractionFacts, prompts: frozenset[str]) -> Interaction:
    """Who is it, and signed in lately enough; then may it, and was it said before."""
    silent = "none" in prompts
    sign_in = Interaction.LOGIN_REQUIRED if silent else Interaction.SIGN_IN
    if facts.signed_in_at is None:
        return sign_in
    if facts.needs_sign_in_since is not None and facts.signed_in_at < facts.needs_sign_in_since:
        return sign_in
    if not facts.is_wanted_person:
        # Whoever signed in for this very request is the one there is.
        return sign_in if facts.signed_in_at < facts.asked_at else Interaction.LOGIN_REQUIRED
    if facts.is_stopped:
        return Interaction.STOPPED
    if facts.is_remembered and "consent" not in prompts:
        return Interaction.GO_ON
    if silent:
        return Interaction.CONSENT_REQUIRED
    return Interaction.ASK if facts.may_consent else Interaction.SIGN_IN
