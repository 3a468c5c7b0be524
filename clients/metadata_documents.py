"""Client ID Metadata Documents (draft-ietf-oauth-client-id-metadata-document): a client_id that is a URL.

The owner of the URL describes the client there. Its host vouches for the client, and pages display
that host. The document is stored as an Agent row, with the rights of any self-registered agent, and
is fetched again when it is stale. While the host is unreachable, the row stays valid for
STORED_WHILE_UNREACHABLE. If the host answers with anything other than a valid document, the row
becomes invalid at once. Errors are never cached.
"""

import logging
import re
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction

from audit import events
from audit.record import SYSTEM, About, record
from clients import defaults, lifecycle, registration, uris
from clients.client_metadata import ClientMetadata, document_problem, host_of_document, parse_metadata
from clients.control import added
from clients.errors import DocumentUnavailable, TooManyRegistrations
from clients.models import Agent
from foundation.errors import ProtocolError
from foundation.forms import parse_json
from foundation.outbound import Lane, OutboundAnswer, OutboundBusy, OutboundFailed, OutboundRefused, Trust, fetch
from foundation.transactions import outside_transaction

log = logging.getLogger(__name__)

MAX_CLIENT_ID = 255  # characters of the column
FETCH_TIMEOUT_S = 5.0  # seconds: a user waits for it
MAX_BYTES = 5 * 1024  # section 6.6 of the draft
MIN_FRESHNESS, DEFAULT_FRESHNESS, MAX_FRESHNESS = timedelta(minutes=5), timedelta(hours=1), timedelta(hours=24)
STORED_WHILE_UNREACHABLE = timedelta(hours=24)
# Slow hosts do not occupy every thread. One host may take all three places, so that concurrent first
# requests of one client are all answered.
LANE = Lane("metadata documents", Trust.SUPPLIED, per_host=3, in_total=3)
RETRY_AFTER = 60  # seconds, for a client that cannot be served without its document
_MAX_AGE = re.compile(r"(?:^|,)\s*max-age=\"?([0-9]{1,10})\"?\s*(?:,|$)", re.IGNORECASE)
_JSON = re.compile(r"application/(?:[A-Za-z0-9.+-]+\+)?json(?:\s*;.*)?", re.IGNORECASE)


class DocumentBad(Exception):
    """The host answered, but not with a valid document: the stored document becomes invalid."""


class DocumentAway(Exception):
    """The host does not answer now."""


class FetchedTooOften(DocumentAway):
    """The limits on fetching do not allow another fetch now."""


def is_document_url(unverified_client_id: str) -> bool:
    return unverified_client_id.startswith("https://")


def bring_up_to_date(agent: Agent | None, unverified_client_id: str, caller: str, now: datetime) -> Agent | None:
    """The agent of this URL, after its document was fetched unless it is fresh; None without a valid document.

    `agent` is the stored one, or None. See clients/lookup.py.
    """
    if not _is_accepted(unverified_client_id):
        return None
    if agent is not None and (not agent.is_active or _is_fresh(agent, now)):
        return agent
    outside_transaction("fetching a metadata document")
    try:
        return _fetched(unverified_client_id, caller, now)
    except DocumentBad as problem:
        log.warning("there is no client at %s: %s", unverified_client_id, problem)
        _end(agent)
        if isinstance(problem.__cause__, OutboundRefused):
            raise DocumentUnavailable(detail=str(problem), retry_after=RETRY_AFTER) from problem
        return None
    except DocumentAway as problem:
        log.warning("the document at %s could not be fetched: %s", unverified_client_id, problem)
        if agent is not None and _is_fresh(agent, now - STORED_WHILE_UNREACHABLE):
            return agent
        if isinstance(problem, FetchedTooOften):
            busy = "the client's metadata document could not be fetched: too many documents are due; try again later"
            raise DocumentUnavailable(busy, retry_after=RETRY_AFTER) from problem
        raise DocumentUnavailable(detail=str(problem), retry_after=RETRY_AFTER) from problem


def _is_accepted(client_id: str) -> bool:
    hosts = settings.METADATA_DOCUMENT_HOSTS
    if uris.problem_with_document_url(client_id) or len(client_id) > MAX_CLIENT_ID:
        return False
    return "*" in hosts or host_of_document(client_id) in hosts


def _is_fresh(agent: Agent, now: datetime) -> bool:
    return agent.cimd_expires_at is not None and agent.cimd_expires_at > now


def _fetched(url: str, caller: str, now: datetime) -> Agent:
    """Fetches the document and stores it. Raises DocumentBad or DocumentAway."""
    try:
        registration.count_attempt(caller, now, host_of_document(url))
    except TooManyRegistrations as error:
        raise FetchedTooOften("it was fetched too often") from error
    try:
        answer = fetch("GET", url, lane=LANE, headers={"Accept": "application/json"},
                       timeout=FETCH_TIMEOUT_S, max_bytes=MAX_BYTES)  # fmt: skip
    except OutboundBusy as error:
        raise FetchedTooOften("too many documents are being fetched at once") from error
    except OutboundFailed as error:
        raise DocumentAway(str(error)) from error
    except OutboundRefused as error:
        raise DocumentBad(str(error)) from error
    metadata = _read(url, answer)
    return _store_document(url, metadata, caller, now, now + freshness(answer.headers.get("cache-control", "")))


def _read(url: str, answer: OutboundAnswer) -> ClientMetadata:
    if answer.status >= 500 or answer.status == 429:
        raise DocumentAway(f"it answered {answer.status}")
    if answer.status != 200:  # refuses redirects too: another URL would define this client
        raise DocumentBad(f"it answered {answer.status}")
    if not _JSON.fullmatch(answer.headers.get("content-type", "")):
        raise DocumentBad("its content type is not JSON")
    try:
        unverified: Any = parse_json(answer.body, "the document")
        if problem := document_problem(url, unverified):
            raise DocumentBad(problem)
        metadata = parse_metadata(unverified, registration.document_offer())
        if refusal := registration.problem_with_name(metadata):
            raise refusal
        return metadata
    except ProtocolError as error:
        raise DocumentBad(error.description) from error


def freshness(cache_control: str) -> timedelta:
    """How long the document stays fresh (RFC 9111 5.2.2), within this server's bounds."""
    if re.search(r"\bno-(?:store|cache)\b", cache_control, re.IGNORECASE):
        return MIN_FRESHNESS
    found = _MAX_AGE.search(cache_control)
    requested = timedelta(seconds=min(int(found[1]), 10**9)) if found else DEFAULT_FRESHNESS
    return min(max(requested, MIN_FRESHNESS), MAX_FRESHNESS)


def _store_document(url: str, metadata: ClientMetadata, caller: str, now: datetime, expires_at_hint: datetime) -> Agent:
    try:
        return _store(url, metadata, caller, now, expires_at_hint)
    except ValidationError as error:
        raise DocumentBad(str(error)) from error


@transaction.atomic(durable=True)
def _store(url: str, metadata: ClientMetadata, caller: str, now: datetime, expires_at_hint: datetime) -> Agent:
    """Creates or updates the row of this URL. Of two concurrent calls one creates it, and the other finds it."""
    agent, is_new = Agent.objects.select_for_update(no_key=True).get_or_create(
        client_id=url, defaults={"registration_source": Agent.RegistrationSource.CIMD}
    )
    before, control = ({}, None) if is_new else (registration.metadata_of(agent), agent.control)
    registration.fill(agent, metadata)
    agent.cimd_expires_at = expires_at_hint
    if is_new:
        agent.identity_scopes = defaults.identity_scopes()
    agent.full_clean()
    agent.save()
    if is_new:
        defaults.give(agent)
    changed = registration.changes(before, agent)
    if changed:
        if not is_new:
            registration.note_identity_change(agent, changed, now)
        kind = events.AGENT_REGISTERED if is_new else events.AGENT_CHANGED
        about = About(SYSTEM, client_id=url)
        record(
            kind, about, now, name=agent.name, changed=changed, address=caller, **registration.client_information(agent)
        )
    # A document proves no key. The agent keeps its rights, because an administrator gave them to
    # this URL, which identifies the agent.
    if control is not None and (more := added(control, agent.control)):
        lifecycle.reset(agent, SYSTEM, more, now)
    return agent


def _end(agent: Agent | None) -> None:
    """Invalidates the stored document. Only a valid one reactivates the agent."""
    if agent is not None:
        Agent.objects.filter(pk=agent.pk, cimd_expires_at=agent.cimd_expires_at).update(cimd_expires_at=None)
