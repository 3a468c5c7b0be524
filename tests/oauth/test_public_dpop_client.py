"""A public client library that nobody here wrote: requests-oauth2client, with DPoP."""

import json
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from typing import Any

import httpx
import pytest
import requests
from django.utils import timezone
from requests_oauth2client import DPoPKey, DPoPToken, OAuth2Client, PrivateKeyJwt
from requests_oauth2client.exceptions import AuthorizationPending, InvalidGrant

from accounts.models import User
from audit.record import SYSTEM, About
from ciba.models import Prompt
from examples import demo_api
from oauth.tokens.dpop import access_token_hash
from operations.lifecycle import issue_resource_secret
from operations.models import Resource, Scope
from runtime.processes import free_port
from tests.patience import PATIENCE
from tests.support.web_server import make_server, running
from tests.support.world import PAYMENT, Caller, ResourceServer, sign_in

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory, django_db_setup: None) -> Iterator[str]:
    """A server at an address of its own."""
    port = free_port()
    url = f"http://localhost:{port}"
    with running(make_server(port, tmp_path_factory.mktemp("server"), ISSUER_URL=url), port):
        yield url


@pytest.fixture(params=["ES256", "PS256"])
def algorithm(request: Any) -> str:
    return str(request.param)


@pytest.fixture
def key(algorithm: str) -> DPoPKey:
    return DPoPKey.generate(algorithm)


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


@pytest.fixture
def api(issuer: str, agent: Caller) -> Iterator[str]:
    """The demo's API, which the guide for resource servers points to, at an address of its own."""
    url = f"http://127.0.0.1:{free_port()}"
    resource = Resource.objects.create(identifier=f"{url}/", name="Demo")
    Scope.objects.filter(name="calendar.read").update(resource=resource)
    secret = issue_resource_secret(resource, About(SYSTEM), timezone.now())
    settings = {"issuer": issuer, "resource": f"{url}/", "resource_id": str(resource.id), "secret": secret}
    with httpx.Client(timeout=PATIENCE) as http:
        demo_api.Handler.countersign = demo_api.Countersign(settings, http)
        server = ThreadingHTTPServer(("127.0.0.1", int(url.rpartition(":")[2])), demo_api.Handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield url
        server.shutdown()
        server.server_close()
        thread.join()


def test_an_api_takes_a_bound_token_from_its_holder_alone(
    client: OAuth2Client, key: DPoPKey, api: str, algorithm: str
) -> None:
    token = client.client_credentials(scope="calendar.read")
    if algorithm == "PS256":  # the example knows ES256
        assert requests.get(f"{api}/calendar", auth=token, timeout=PATIENCE).status_code == 401
        return
    assert requests.get(f"{api}/calendar", auth=token, timeout=PATIENCE).json()["events"]
    stolen = {"Authorization": f"Bearer {token.access_token}"}
    assert requests.get(f"{api}/calendar", headers=stolen, timeout=PATIENCE).status_code == 401
    proof = str(key.proof("GET", f"{api}/calendar", ath=access_token_hash(token.access_token)))
    stolen = {"Authorization": f"DPoP {token.access_token}", "DPoP": proof}
    assert requests.get(f"{api}/calendar", headers=stolen, timeout=PATIENCE).status_code == 200
    assert requests.get(f"{api}/calendar", headers=stolen, timeout=PATIENCE).status_code == 401, "a proof works once"
    thief = str(DPoPKey.generate("ES256").proof("GET", f"{api}/calendar", ath=access_token_hash(token.access_token)))
    assert requests.get(f"{api}/calendar", headers=stolen | {"DPoP": thief}, timeout=PATIENCE).status_code == 401


def test_ciba(client: OAuth2Client, key: DPoPKey, user: User, bank: ResourceServer, issuer: str) -> None:
    sent = client.backchannel_authentication_request(
        scope="openid", login_hint=user.email, binding_message="Order 17",
        authorization_details=json.dumps([PAYMENT]),
    )  # fmt: skip
    with pytest.raises(AuthorizationPending):
        client.ciba(sent)
    sign_in(user).post(f"/v1/prompts/{Prompt.objects.get().id}/approve")
    token = client.ciba(sent)
    assert isinstance(token, DPoPToken)
    reply = requests.post(
        f"{issuer}/oauth/introspect", {"token": token.access_token}, timeout=PATIENCE,
        headers={"Authorization": bank.authorization},
    ).json()  # fmt: skip
    assert reply["token_type"] == "DPoP"
    assert reply["cnf"] == {"jkt": key.dpop_jkt}
    with pytest.raises(InvalidGrant):
        client.ciba(sent)
