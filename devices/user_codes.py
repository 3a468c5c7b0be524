"""The user's code that lets an agent reach their devices (CIBA Core 7.1, `user_code`): set, remove, check.

The code keeps unwanted prompts away; it approves nothing. It must not be the password, because
agents see it.
"""

import functools
from datetime import datetime, timedelta
from enum import Enum, auto
from itertools import pairwise

from django.conf import settings
from django.contrib.auth.hashers import check_password, make_password
from django.db import transaction

from accounts.models import User
from audit import events
from audit.record import About, record, record_alone
from clients.models import Agent
from devices.models import UserCode
from foundation.attempt_limits import AttemptLimit
from foundation.attempts import AttemptCounter
from foundation.handles import new_handle

ATTEMPT_WINDOW = timedelta(minutes=15)
MAX_WRONG_PER_AGENT = 5  # wrong codes of one agent for one user, so that other agents are not affected
# wrong codes of all agents for one user, so that many agents together cannot guess the code either
MAX_WRONG_OVERALL = 50
ATTEMPTS = AttemptCounter("user code", ATTEMPT_WINDOW)
MIN_LENGTH, MAX_LENGTH = 6, 64  # characters


class CodeVerdict(Enum):
    RIGHT = auto()
    MISSING = auto()
    WRONG = auto()  # or too many wrong codes within the window: the agent does not learn which


def problem_with_code(code: str) -> str | None:
    """Why this code cannot be chosen, or None."""
    if not MIN_LENGTH <= len(code) <= MAX_LENGTH or not all("!" <= character <= "~" for character in code):
        return f"A code has {MIN_LENGTH} to {MAX_LENGTH} letters, digits or signs, and no spaces."
    steps = {ord(after) - ord(before) for before, after in pairwise(code)}
    if len(set(code)) < 3 or steps in ({1}, {-1}):
        return "That code is easy to guess."
    return None


@transaction.atomic(durable=True)
def set_code(user: User, code: str, now: datetime) -> None:
    UserCode.objects.update_or_create(user=user, defaults={"code_hash": make_password(code), "set_at": now})
    ATTEMPTS.clear(_for_user(user))
    record(events.USER_CODE_SET, _about(user), now)


@transaction.atomic(durable=True)
def remove_code(user: User, now: datetime) -> None:
    gone, _ = UserCode.objects.filter(user=user).delete()
    if gone:
        record(events.USER_CODE_REMOVED, _about(user), now)


@functools.cache
def _decoy_hash() -> str:
    return make_password(new_handle())


def spend_equal_time(unverified_code: str | None) -> None:
    """Takes as long as checking a code, if user enumeration protection is on and there is no code to check."""
    if settings.HIDE_UNKNOWN_USERS and unverified_code is not None:
        check_password(unverified_code, _decoy_hash())


def check_code(agent: Agent, user: User, unverified_code: str | None, now: datetime) -> CodeVerdict:
    """Checks a code. Counts a wrong one (foundation/attempts.py), so call it outside a transaction."""
    chosen = UserCode.objects.filter(user=user).first()
    if unverified_code is None:
        return CodeVerdict.MISSING if chosen else CodeVerdict.RIGHT
    if chosen is None:
        spend_equal_time(unverified_code)
        return CodeVerdict.WRONG
    limits = limits_of(agent, user)
    if ATTEMPTS.is_exhausted(limits, now):
        record_alone(events.USER_CODE_LOCKED, _about(user, agent), now, agent=agent.name)
        spend_equal_time(unverified_code)
        return CodeVerdict.WRONG
    if not check_password(unverified_code, chosen.code_hash):
        ATTEMPTS.record_wrong(limits, now)
        return CodeVerdict.WRONG
    ATTEMPTS.clear(_from_agent_for_user(agent, user))
    return CodeVerdict.RIGHT


def limits_of(agent: Agent, user: User) -> list[AttemptLimit]:
    return [
        AttemptLimit(_from_agent_for_user(agent, user), MAX_WRONG_PER_AGENT),
        AttemptLimit(_for_user(user), MAX_WRONG_OVERALL),
    ]


def _for_user(user: User) -> str:
    return f"user {user.pk}"


def _from_agent_for_user(agent: Agent, user: User) -> str:
    return f"agent {agent.pk} user {user.pk}"


def _about(user: User, agent: Agent | None = None) -> About:
    actor = f"agent:{agent.client_id}" if agent else f"user:{user.id}"
    return About(actor, client_id=agent.client_id if agent else "", user_id=user.id)
