"""Which interaction with the user an authorization request needs (OpenID Connect Core 3.1.2.3).

Pure.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto

from oauth.authorization.parameters import AuthorizationParameters


class Interaction(Enum):
    REUSE_CONSENT = auto()  # an earlier consent covers the whole request
    ASK = auto()  # show the consent page
    SIGN_IN = auto()
    LOGIN_REQUIRED = auto()
    CONSENT_REQUIRED = auto()
    STOPPED = auto()  # the user has stopped this agent


@dataclass(frozen=True)
class InteractionFacts:
    requested_at: datetime  # when the request came, before any sign-in that it caused
    signed_in_at: datetime | None  # None: no user is signed in
    needs_sign_in_since: datetime | None
    is_requested_user: bool  # the request names no user, or names this one
    is_stopped: bool
    is_remembered: bool
    may_consent: bool  # signed in recently enough to consent


def needs_sign_in_since(
    parsed: AuthorizationParameters, requested_at: datetime, acr_age: timedelta | None
) -> datetime | None:
    """The earliest acceptable sign-in time, or None for any.

    `acr_age`: the largest age of a sign-in that satisfies the requested `acr`.
    """
    oldest = [requested_at] if parsed.prompts & {"login", "select_account"} else []
    if parsed.max_age is not None:
        oldest.append(requested_at - timedelta(seconds=parsed.max_age))
    if acr_age is not None:
        oldest.append(requested_at - acr_age)
    return max(oldest, default=None)


def judge_interaction(facts: InteractionFacts, prompts: frozenset[str]) -> Interaction:
    """Checks in this order: signed in, recently enough, the requested user, agent not stopped,
    consented before.
    """
    silent = "none" in prompts
    sign_in = Interaction.LOGIN_REQUIRED if silent else Interaction.SIGN_IN
    if facts.signed_in_at is None:
        return sign_in
    if facts.needs_sign_in_since is not None and facts.signed_in_at < facts.needs_sign_in_since:
        return sign_in
    if not facts.is_requested_user:
        # A user who signed in for this very request is the wrong one: another sign-in would not
        # help.
        return sign_in if facts.signed_in_at < facts.requested_at else Interaction.LOGIN_REQUIRED
    if facts.is_stopped:
        return Interaction.STOPPED
    if facts.is_remembered and "consent" not in prompts:
        return Interaction.REUSE_CONSENT
    if silent:
        return Interaction.CONSENT_REQUIRED
    return Interaction.ASK if facts.may_consent else Interaction.SIGN_IN
