"""Public clients for Node, unmodified, against the real product: they register themselves and go the whole way."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from authserver import demo
from clients.models import AUTHORIZATION_CODE, CIBA, REFRESH_TOKEN
from examples import agent
from tests.node import NodeProgram, running
from tests.stories.conftest import Product
from tests.support.public_clients import SignedIn

PAYMENT = {"type": "payment", **agent.PAYMENT}
REDIRECT_URI = "http://127.0.0.1:9999/callback"  # nobody listens: the test tells where the browser was sent


@pytest.fixture
def somebody(product: Product) -> Iterator[SignedIn]:
    with httpx.Client(base_url=product.url, timeout=60) as http:
        yield SignedIn(http, product.password)


def reply(product: Product, **more: Any) -> dict[str, Any]:
    return {
        "issuer": product.url, "redirect_uri": REDIRECT_URI, "login_hint": demo.USER["email"],
        "grant_types": [AUTHORIZATION_CODE, REFRESH_TOKEN, CIBA], "scope": "openid calendar.read offline_access",
        "authorization_details": [PAYMENT], "id_token_algorithm": "ES256", "dpop": False, **more,
    }  # fmt: skip


def go_the_whole_way(program: NodeProgram, somebody: SignedIn, token_type: str) -> None:
    """What the library refuses by itself ends the program."""
    program.send({"arrived": somebody.allow(program.receive()["authorize"])})
    issued = program.receive()
    assert set(issued["tokens"]["scope"].split()) == {"openid", "calendar.read", "offline_access"}
    assert issued["tokens"]["token_type"].lower() == token_type
    subject = issued["claims"]["sub"]
    assert program.receive()["userinfo"]["sub"] == subject

    refreshed = program.receive()
    assert refreshed["userinfo"]["sub"] == subject
    assert refreshed["tokens"]["access_token"] != issued["tokens"]["access_token"]

    program.receive()  # it has asked
    somebody.approve("From Node")
    approved = program.receive()
    assert approved["claims"]["sub"] == approved["userinfo"]["sub"] == subject
    assert approved["tokens"]["authorization_details"] == [PAYMENT]

    assert program.receive() == {"after_revocation": "invalid_grant"}
    assert program.exit_code() == 0, program.stderr()


@pytest.mark.parametrize(
    ("client", "token_type", "changed"),
    [
        pytest.param("openid_client.mjs", "bearer", {}, id="openid-client"),
        pytest.param("openid_client.mjs", "bearer", {"id_token_algorithm": "RS256"}, id="openid-client, RS256"),
        pytest.param("oauth4webapi.mjs", "bearer", {}, id="oauth4webapi"),
        pytest.param("oauth4webapi.mjs", "dpop", {"dpop": True}, id="oauth4webapi, DPoP"),
    ],
)
def test_code_flow_userinfo_refresh_ciba_and_revocation(
    client: str, token_type: str, changed: dict[str, Any], node_clients: Path, product: Product, somebody: SignedIn
) -> None:
    with running(node_clients, client) as program:
        program.send(reply(product, **changed))
        go_the_whole_way(program, somebody, token_type)
