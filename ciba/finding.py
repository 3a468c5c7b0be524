"""Finding the person whom a hint names, among those whom the agent may ask (CIBA Core 7.2, step 4).

Unknown, disabled, and not this agent's to ask are one answer, by one query.
"""

from datetime import datetime
from uuid import UUID

from django.conf import settings

from accounts.models import User
from ciba.hint_tokens import subject_of
from ciba.hints import By, Named, parse_login_hint, parse_subject
from ciba.parameters import Asked
from clients.asking import askable_by
from clients.models import Agent
from foundation.errors import InvalidRequest
from oauth.verifying import find_hinted_sub


def read_hint(asked: Asked, agent: Agent, now: datetime) -> Named | None:
    """Whom the hint names; None: somebody of another issuer. Raises InvalidRequest or ExpiredLoginHintToken."""
    if asked.unverified_login_hint is not None:
        return parse_login_hint(asked.unverified_login_hint, settings.ISSUER_URL)
    if asked.unverified_login_hint_token is not None:
        return parse_subject(subject_of(asked.unverified_login_hint_token, now), settings.ISSUER_URL)
    sub = find_hinted_sub(asked.unverified_id_token_hint or "", agent, now)
    if sub is None:
        raise InvalidRequest("id_token_hint is not an ID token that this server gave to this agent")
    return Named(By.SUB, sub)


def find_named(named: Named | None, agent: Agent) -> User | None:
    if named is None or (named.by is By.SUB and not _is_uuid(named.value)):
        return None
    return askable_by(agent).filter(**{named.by.value: named.value}).first()


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False
