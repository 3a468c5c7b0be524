"""Finds the user whom a hint names, among the users whom the agent may ask (CIBA Core 7.2, step 4).

Unknown users, disabled users and users whom the agent may not ask get the same answer, from one
query.
"""

from datetime import datetime
from uuid import UUID

from django.conf import settings

from accounts.models import User
from ciba.hint_tokens import subject_of
from ciba.hints import HintedSubject, HintKind, parse_login_hint, parse_subject
from ciba.parameters import BackchannelParameters
from clients.models import Agent
from clients.reachable_users import find_reachable
from foundation.errors import InvalidRequest
from oauth.tokens.token_verification import find_hinted_sub


def read_hint(parsed: BackchannelParameters, agent: Agent, now: datetime) -> HintedSubject | None:
    """The subject that the hint names; None if it is a subject of another issuer.

    Raises InvalidRequest or ExpiredLoginHintToken.
    """
    match parsed.hint_name:
        case "login_hint":
            return parse_login_hint(parsed.unverified_hint, settings.ISSUER_URL)
        case "login_hint_token":
            return parse_subject(subject_of(parsed.unverified_hint, now), settings.ISSUER_URL)
    sub = find_hinted_sub(parsed.unverified_hint, agent, now)
    if sub is None:
        raise InvalidRequest("id_token_hint is not an ID token that this server gave to this agent")
    return HintedSubject(HintKind.SUB, sub)


def find_named(named: HintedSubject | None, agent: Agent) -> User | None:
    if named is None or (named.by is HintKind.SUB and not _is_uuid(named.value)):
        return None
    return find_reachable(agent, named.by, named.value)


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False
