"""Client ID Metadata Documents (draft-ietf-oauth-client-id-metadata-document): a client_id that is an address.

Whoever controls the address says there what the client is; that host is what we can vouch for, and what the person is
shown. The document is kept as an Agent row, with the rights of any agent that registered itself, and is fetched again
when it is old. While its host is away, the row goes on for GRACE; a host that answers anything else than a good
document ends it at once. An error is never kept.
"""

import logging
import re
import threading
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import connection, transaction

from audit import events
from audit.record import SYSTEM, About, record
from clients import lifecycle, registering, uris
from clients.client_metadata import ClientMetadata, document_problem, host_of_document, parse_metadata
from clients.control import added
from clients.errors import DocumentUnavailable, TooManyRegistrations
from clients.models import Agent
from foundation.errors import ProtocolError
from foundation.forms import parse_json
from foundation.outbound import Answer, OutboundFailed, OutboundRefused, Trust, fetch
from foundation.prepared import Given, Rows

log = logging.getLogger(__name__)

MAX_CLIENT_ID = 255  # characters, of our column
TIMEOUT = 5.0  # seconds: a person waits for it
MAX_BYTES = 5 * 1024  # section 6.6
LEAST_FRESH, USUALLY_FRESH, MOST_FRESH = timedelta(minutes=5), timedelta(hours=1), timedelta(hours=24)
GRACE = timedelta(hours=24)
# Of one process's threads so many at once wait for such hosts. Slow ones do not take them all.
AT_ONCE = 3
RETRY_AFTER = 60  # seconds, for who cannot be served without a document
_places = threading.BoundedSemaphore(AT_ONCE)
_MAX_AGE = re.compile(r"(?:^|,)\s*max-age=\"?([0-9]{1,10})\"?\s*(?:,|$)", re.IGNORECASE)
_JSON = re.compile(r"application/(?:[A-Za-z0-9.+-]+\+)?json(?:\s*;.*)?", re.IGNORECASE)


_NAMED = Rows(lambda: Agent.objects.filter(client_id=Given("client_id")))


class DocumentBad(Exception):
    """The host answered, and there is no such client: whatever was known of it is over."""


class DocumentAway(Exception):
    """There is no answer just now."""


class FetchedTooOften(DocumentAway):
    """It is not asked for just now."""


def is_document_url(unverified_client_id: str) -> bool:
    return unverified_client_id.startswith("https://")


def find_agent(unverified_client_id: str, caller: str, now: datetime) -> Agent | None:
    """The agent with this client_id, its document fetched where it has one that is not fresh. It may be suspended.

    `caller` is an IP address, whose fetches are counted. Speaks to the network: never inside a transaction.
    Raises DocumentUnavailable where its host cannot be asked, and nothing is known that could stand in.
    """
    agent = _NAMED.first(client_id=unverified_client_id)
    if not is_document_url(unverified_client_id):
        return agent
    if not _is_taken(unverified_client_id):
        return None
    if agent is not None and (not agent.is_active or _is_fresh(agent, now)):
        return agent
    if connection.in_atomic_block:
        raise RuntimeError("a metadata document is fetched before a transaction, not inside it")
    try:
        return _fetched(unverified_client_id, caller, now)
    except DocumentBad as problem:
        log.warning("no client at %s: %s", unverified_client_id, problem)
        _end(agent)
        if isinstance(problem.__cause__, OutboundRefused):
            raise DocumentUnavailable(detail=str(problem), retry_after=RETRY_AFTER) from problem
        return None
    except DocumentAway as problem:
        log.warning("the document at %s could not be fetched: %s", unverified_client_id, problem)
        if agent is not None and _is_fresh(agent, now - GRACE):
            return agent
        if isinstance(problem, FetchedTooOften):
            busy = "the client's metadata document could not be fetched: too many were lately; try again later"
            raise DocumentUnavailable(busy, retry_after=RETRY_AFTER) from problem
        raise DocumentUnavailable(detail=str(problem), retry_after=RETRY_AFTER) from problem


def _is_taken(client_id: str) -> bool:
    hosts = settings.METADATA_DOCUMENT_HOSTS
    if uris.problem_with_document_url(client_id) or len(client_id) > MAX_CLIENT_ID:
        return False
    return "*" in hosts or host_of_document(client_id) in hosts


def _is_fresh(agent: Agent, now: datetime) -> bool:
    return agent.cimd_expires_at is not None and agent.cimd_expires_at > now


def _fetched(url: str, caller: str, now: datetime) -> Agent:
    """Raises DocumentBad or DocumentAway."""
    try:
        registering.count_attempt(caller, now, host_of_document(url))
    except TooManyRegistrations as error:
        raise FetchedTooOften("fetched too often lately") from error
    if not _places.acquire(blocking=False):
        raise FetchedTooOften("too many are being fetched at once")
    try:
        answer = fetch("GET", url, trust=Trust.SUPPLIED, headers={"Accept": "application/json"},
                       timeout=TIMEOUT, max_bytes=MAX_BYTES)  # fmt: skip
    except OutboundFailed as error:
        raise DocumentAway(str(error)) from error
    except OutboundRefused as error:
        raise DocumentBad(str(error)) from error
    finally:
        _places.release()
    metadata = _read(url, answer)
    return _keep(url, metadata, caller, now, now + freshness(answer.headers.get("cache-control", "")))


def _read(url: str, answer: Answer) -> ClientMetadata:
    if answer.status >= 500 or answer.status == 429:
        raise DocumentAway(f"it answered {answer.status}")
    if answer.status != 200:  # a redirect too: it would let another address speak for this one
        raise DocumentBad(f"it answered {answer.status}")
    if not _JSON.fullmatch(answer.headers.get("content-type", "")):
        raise DocumentBad("it is not JSON by its content type")
    try:
        unverified: Any = parse_json(answer.body, "the document")
        if problem := document_problem(url, unverified):
            raise DocumentBad(problem)
        metadata = parse_metadata(unverified, registering.document_offer())
        if refusal := registering.problem_with_name(metadata):
            raise refusal
        return metadata
    except ProtocolError as error:
        raise DocumentBad(error.description) from error


def freshness(cache_control: str) -> timedelta:
    """How long the document is good for (RFC 9111 5.2.2), within our own bounds."""
    if re.search(r"\bno-(?:store|cache)\b", cache_control, re.IGNORECASE):
        return LEAST_FRESH
    found = _MAX_AGE.search(cache_control)
    asked = timedelta(seconds=min(int(found[1]), 10**9)) if found else USUALLY_FRESH
    return min(max(asked, LEAST_FRESH), MOST_FRESH)


def _keep(url: str, metadata: ClientMetadata, caller: str, now: datetime, fresh_until: datetime) -> Agent:
    try:
        return _store(url, metadata, caller, now, fresh_until)
    except ValidationError as error:
        raise DocumentBad(str(error)) from error


@transaction.atomic(durable=True)
def _store(url: str, metadata: ClientMetadata, caller: str, now: datetime, fresh_until: datetime) -> Agent:
    """The row of this address, made or brought up to date. Of two at once one makes it, the other finds it."""
    agent, is_new = Agent.objects.select_for_update(no_key=True).get_or_create(
        client_id=url, defaults={"registration_source": Agent.RegistrationSource.CIMD}
    )
    before, control = ({}, None) if is_new else (registering.metadata_of(agent), agent.control)
    registering.fill(agent, metadata)
    agent.cimd_expires_at = fresh_until
    agent.full_clean()
    agent.save()
    if is_new:
        registering.give_defaults(agent)
        registering.link_defaults(agent)
    changed = registering.changes(before, agent)
    if changed:
        if not is_new:
            registering.note_identity_change(agent, changed, now)
        kind = events.AGENT_REGISTERED if is_new else events.AGENT_CHANGED
        about = About(SYSTEM, client_id=url)
        record(kind, about, now, name=agent.name, changed=changed, address=caller, **registering.told(agent))
    # A document proves no key. Rights stay: an administrator gave them to this address, which is who the agent is.
    if control is not None and (more := added(control, agent.control)):
        lifecycle.reset(agent, SYSTEM, more, now)
    return agent


def _end(agent: Agent | None) -> None:
    """The document that was known is over; only a good one brings the agent back."""
    if agent is not None:
        Agent.objects.filter(pk=agent.pk, cimd_expires_at=agent.cimd_expires_at).update(cimd_expires_at=None)
