"""The keys that an agent publishes at its `client_jwks_uri` (RFC 7591 2, `jwks_uri`).

foundation/remote_jwks.py fetches and stores them.
"""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

from django.utils import timezone

from audit import events
from audit.record import SYSTEM, About, record
from clients import keys
from clients.models import Agent, PublishedKeys
from foundation.outbound import Lane, Trust
from foundation.remote_jwks import PublishedKeySet

LANE = Lane("agents' keys", Trust.SUPPLIED, per_host=2, in_total=3)


def published_jwks(agent: Agent, is_enough: Callable[[dict[str, Any]], bool], now: datetime) -> dict[str, Any] | None:
    """The agent's key set, or None if no valid one is known (PublishedKeySet.read).

    The host of a suspended agent is not called.
    """
    published = PublishedKeySet(
        PublishedKeys,
        {"agent": agent},
        agent.client_jwks_uri,
        LANE,
        accept=keys.usable,
        on_stored=partial(_record_change, agent, agent.client_jwks_uri),
    )
    return published.read(is_enough, now, may_fetch=agent.is_active)


def _record_change(agent: Agent, uri: str, previous: dict[str, Any] | None, new: dict[str, Any]) -> None:
    """Records an event if the new keys differ from the previous ones."""
    before, after = keys.thumbprints(previous), keys.thumbprints(new)
    if before != after:
        about = About(SYSTEM, client_id=agent.client_id)
        added, removed = sorted(after - before), sorted(before - after)
        record(events.AGENT_KEYS_CHANGED, about, timezone.now(), uri=uri, added=added, removed=removed)
