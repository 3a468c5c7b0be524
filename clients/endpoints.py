"""POST /oidc/register (RFC 7591), GET PUT DELETE /oidc/register/{client_id} (RFC 7592)."""

from datetime import datetime
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from clients import registration
from clients.authentication import prove_certificate, prove_key
from clients.client_metadata import parse_metadata
from clients.control import Control
from clients.errors import InvalidClientMetadata, InvalidRegistrationToken, RegistrationClosed
from clients.models import Agent
from clients.mutual_tls import certificate_of
from foundation.attempts import limited
from foundation.endpoint import json_response, protocol_endpoint
from foundation.errors import InvalidClient, InvalidRequest, ProtocolError
from foundation.forms import parse_json, read_body

MAX_BODY = 32 * 1024
# RFC 7592 2.2: members of the server's answer that a client must not send back.
_OURS = frozenset(
    {"registration_access_token", "registration_client_uri", "client_secret_expires_at", "client_id_issued_at"}
)


@protocol_endpoint("register", "POST", cross_origin=True)
def register(request: HttpRequest) -> HttpResponse:
    if settings.REGISTRATION == registration.REGISTRATION_CLOSED:
        raise RegistrationClosed()
    now, address = timezone.now(), request.META["REMOTE_ADDR"]
    registration.count_attempt(address, now)
    metadata = parse_metadata(_read(request), registration.current_offer())
    answer = registration.register(metadata, address, _bearer(request), now)
    return json_response(_client_information(_accepted(answer)), 201)


@protocol_endpoint("registration", "GET", "PUT", "DELETE", cross_origin=True)
def manage_registration(request: HttpRequest, client_id: str) -> HttpResponse:
    token = _bearer(request)
    if token is None:
        raise InvalidRegistrationToken()
    now, address = timezone.now(), request.META["REMOTE_ADDR"]
    with limited("registration token", token, address, now, wrong=InvalidRegistrationToken):
        return _manage(request, client_id, token)


def _manage(request: HttpRequest, client_id: str, token: str) -> HttpResponse:
    if request.method == "PUT":
        return _change(request, client_id, token)
    if request.method == "DELETE":
        _accepted(registration.unregister(client_id, token, timezone.now()))
        return HttpResponse(status=204, headers={"Cache-Control": "no-store"})
    agent = _accepted(registration.find_registered(client_id, token))
    return json_response(
        _client_information(registration.RegisteredAgent(agent, registration.metadata_of(agent), token))
    )


def _change(request: HttpRequest, client_id: str, token: str) -> HttpResponse:
    # first, so that a stranger learns nothing from later errors
    agent = _accepted(registration.find_registered(client_id, token))
    body = _read(request)
    if body.get("client_id") != client_id or _OURS & body.keys():
        raise InvalidClientMetadata("send client_id, and none of the members that only the server sets")
    metadata = parse_metadata(body, registration.current_offer())
    secret = body.get("client_secret")
    if secret is not None and not isinstance(secret, str):
        raise InvalidClientMetadata("client_secret must be a string")
    now = timezone.now()
    proved = _proved_control(request, agent, body, now)
    answer = registration.change(client_id, token, metadata, secret, now, proved=proved)
    return json_response(_client_information(_accepted(answer)))


def _proved_control(request: HttpRequest, agent: Agent, body: dict[str, Any], now: datetime) -> Control | None:
    """The registered control fields, if the sender proves to be the agent. None without a proof.

    The proof is `client_assertion` with `client_assertion_type` (RFC 7521 4.2) as members of the
    body, or the certificate of the connection. An invalid proof refuses the change.
    """
    submitted = [body.get(name, "") for name in ("client_assertion", "client_assertion_type")]
    if not all(isinstance(one, str) for one in submitted):
        raise InvalidClientMetadata("client_assertion and client_assertion_type must be strings")
    certificate = certificate_of(request) if agent.uses_mutual_tls else None
    if not any(submitted) and certificate is None:
        return None
    try:
        if any(submitted):
            url = f"{settings.ISSUER_URL}/oidc/register/{agent.client_id}"
            prove_key(agent, *submitted, endpoint_url=url, caller=request.META["REMOTE_ADDR"], now=now)
        elif certificate:
            prove_certificate(agent, certificate, now)
    except InvalidClient as error:
        registration.record_wrong_proof(agent, now)
        wrong = "the proof was not made with the registered key"
        raise InvalidClientMetadata(wrong, detail=error.detail) from error
    return agent.control


def _accepted(answer: Any) -> Any:
    """Returns the answer, or raises it if it is a refusal."""
    if isinstance(answer, ProtocolError):
        raise answer
    return answer


def _read(request: HttpRequest) -> dict[str, Any]:
    body = read_body(request, "application/json")
    if len(body) > MAX_BODY:
        raise InvalidClientMetadata(f"client metadata is larger than {MAX_BODY} bytes")
    try:
        value = parse_json(body, "the body")
    except InvalidRequest as error:
        raise InvalidClientMetadata(error.description) from error
    if not isinstance(value, dict):
        raise InvalidClientMetadata("client metadata must be a JSON object")
    return value


def _bearer(request: HttpRequest) -> str | None:
    """The bearer token (RFC 6750 2.1), or None without the header. Raises for a header that cannot be read."""
    header = request.headers.get("Authorization")
    if header is None:
        return None
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token.strip().isascii() or not token.strip():
        raise InvalidRegistrationToken()
    return token.strip()


def _client_information(registered: registration.RegisteredAgent) -> dict[str, Any]:
    """The client information response (RFC 7591 3.2.1, RFC 7592 3)."""
    agent: Agent = registered.agent
    client_information = {
        **registered.metadata,
        "client_id_issued_at": int(agent.created.timestamp()),
        "registration_access_token": registered.registration_access_token,
        "registration_client_uri": f"{settings.ISSUER_URL}/oidc/register/{agent.client_id}",
    }
    if registered.client_secret is not None:
        client_information |= {"client_secret": registered.client_secret, "client_secret_expires_at": 0}
    return client_information
