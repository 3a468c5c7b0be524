"""Agents that a user consents to in the browser."""

import pytest

from tests.support.consent import WebAgent, make_web_agent
from tests.support.world import ResourceServer


@pytest.fixture
def web(bank: ResourceServer, signing: None) -> WebAgent:
    """An agent that authenticates by private_key_jwt, registered by an administrator."""
    return make_web_agent()


@pytest.fixture
def public(bank: ResourceServer, signing: None) -> WebAgent:
    """A public client."""
    return make_web_agent("Public agent", method="none")
