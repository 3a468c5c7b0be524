"""Finds the agent that a client_id names."""

from datetime import datetime

from clients import metadata_documents
from clients.models import Agent
from foundation.compiled_queries import CompiledQuery, Parameter

_NAMED = CompiledQuery(lambda: Agent.objects.filter(client_id=Parameter("client_id")))


def find_agent(unverified_client_id: str, caller: str, now: datetime) -> Agent | None:
    """The agent with this client_id, or None. The agent may be suspended.

    If the client_id is the URL of a metadata document, fetches the document unless it is fresh.
    `caller` is the IP address whose fetches are counted. Calls the network, so never call it inside
    a transaction. Raises DocumentUnavailable if the document cannot be fetched and no usable copy
    is stored.
    """
    agent = find_stored_agent(unverified_client_id)
    if metadata_documents.is_document_url(unverified_client_id):
        return metadata_documents.bring_up_to_date(agent, unverified_client_id, caller, now)
    return agent


def find_stored_agent(unverified_client_id: str) -> Agent | None:
    """Like `find_agent`, with the metadata document as it was last fetched. Calls no network."""
    return _NAMED.first(client_id=unverified_client_id)
