"""Finds the agent that a client_id names."""

from datetime import datetime

from django.db.models import OuterRef

from clients import metadata_documents
from clients.models import Agent, AgentSecret
from foundation.compiled_queries import CompiledQuery, ExistsByKey, Parameter
from foundation.handles import digest

_NAMED = CompiledQuery(lambda: Agent.objects.filter(client_id=Parameter("client_id")))

_NAMED_WITH_SECRET = CompiledQuery(
    lambda: Agent.objects.filter(client_id=Parameter("client_id")).annotate(
        has_secret=ExistsByKey(AgentSecret.valid(OuterRef("pk")))
    )
)


def find_agent(
    unverified_client_id: str, caller: str, now: datetime, *, unverified_secret: str | None = None
) -> Agent | None:
    """The agent with this client_id, or None. The agent may be suspended.

    Its `has_secret` says whether `unverified_secret` is one of its valid secrets. An agent with a
    metadata document has none.

    If the client_id is the URL of a metadata document, fetches the document unless it is fresh.
    `caller` is the IP address whose fetches are counted. Calls the network, so never call it inside
    a transaction. Raises DocumentUnavailable if the document cannot be fetched and no usable copy
    is stored.
    """
    if metadata_documents.is_document_url(unverified_client_id):
        stored = find_stored_agent(unverified_client_id)
        return metadata_documents.bring_up_to_date(stored, unverified_client_id, caller, now)
    if unverified_secret is None:
        return find_stored_agent(unverified_client_id)
    return _NAMED_WITH_SECRET.first(client_id=unverified_client_id, secret_digest=digest(unverified_secret))


def find_stored_agent(unverified_client_id: str) -> Agent | None:
    """Like `find_agent`, with the metadata document as it was last fetched. Calls no network."""
    return _NAMED.first(client_id=unverified_client_id)
