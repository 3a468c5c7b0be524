"""A public client library that nobody here wrote: requests-oauth2client, with DPoP."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from requests_oauth2client import DPoPKey, DPoPToken, OAuth2Client, PrivateKeyJwt
from requests_oauth2client.exceptions import AuthorizationPending, InvalidGrant

from accounts.models import User
from authserver.servers.processes import free_port
from ciba.models import Prompt
from tests.serving import make_server, running
from tests.world import PAYMENT, Caller, ResourceServer, sign_in

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory, django_db_setup: None) -> Iterator[str]:
    """A server at an address of its own."""
    port = free_port()
    url = f"http://localhost:{port}"
    with running(make_server(port, tmp_path_factory.mktemp("server"), ISSUER_URL=url), port):
        yield url


@pytest.fixture(params=["ES256", "PS256"])
def key(request: Any) -> DPoPKey:
    return DPoPKey.generate(request.param)


@pytest.fixture
def client(issuer: str, agent: Caller, key: DPoPKey) -> Iterator[OAuth2Client]:
    private = {**agent.key.as_dict(private=True), "kid": agent.key.kid, "alg": "ES256"}
    auth = PrivateKeyJwt(agent.agent.client_id, private, aud=issuer)
    with requests.Session() as session:
        yield OAuth2Client.from_discovery_endpoint(
            issuer=issuer, auth=auth, session=session, testing=True, id_token_signed_response_alg="ES256",
            backchannel_authentication_endpoint=f"{issuer}/bc-authorize",  # it does not read this one
            dpop_bound_access_tokens=True, dpop_key_generator=lambda _algorithm: key,
        )  # fmt: skip


def test_client_credentials(client: OAuth2Client, key: DPoPKey) -> None:
    token = client.client_credentials(scope="calendar.read")
    assert isinstance(token, DPoPToken)
    assert token.token_type == "DPoP"
    assert key.as_nonce, "the server's nonce was asked for and used"


def test_ciba(client: OAuth2Client, key: DPoPKey, person: User, bank: ResourceServer, issuer: str) -> None:
    asked = client.backchannel_authentication_request(
        scope="openid", login_hint=person.email, binding_message="Order 17",
        authorization_details=json.dumps([PAYMENT]),
    )  # fmt: skip
    with pytest.raises(AuthorizationPending):
        client.ciba(asked)
    sign_in(person).post(f"/v1/prompts/{Prompt.objects.get().id}/approve")
    token = client.ciba(asked)
    assert isinstance(token, DPoPToken)
    told = requests.post(
        f"{issuer}/oauth/introspect", {"token": token.access_token}, timeout=10,
        headers={"Authorization": bank.authorization},
    ).json()  # fmt: skip
    assert told["token_type"] == "DPoP"
    assert told["cnf"] == {"jkt": key.dpop_jkt}
    with pytest.raises(InvalidGrant):
        client.ciba(asked)
