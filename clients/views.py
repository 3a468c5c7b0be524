"""POST /oidc/register (RFC 7591), GET PUT DELETE /oidc/register/{client_id} (RFC 7592)."""

from datetime import datetime
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from clients import registering
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
# RFC 7592 2.2: what the server says and a client must not send back.
_OURS = frozenset(
    {"registration_access_token", "registration_client_uri", "client_secret_expires_at", "client_id_issued_at"}
)


@protocol_endpoint("register", "POST", cross_origin=True)
def register(request: HttpRequest) -> HttpResponse:
    if settings.REGISTRATION == registering.CLOSED:
        raise RegistrationClosed()
    now, address = timezone.now(), request.META["REMOTE_ADDR"]
    registering.count_attempt(address, now)
    metadata = parse_metadata(_read(request), registering.current_offer())
    answer = registering.register(metadata, address, _bearer(request), now)
    return json_response(_told(_accepted(answer)), 201)


@protocol_endpoint("registration", "GET", "PUT", "DELETE", cross_origin=True)
def registration(request: HttpRequest, client_id: str) -> HttpResponse:
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
        _accepted(registering.unregister(client_id, token, timezone.now()))
        return HttpResponse(status=204, headers={"Cache-Control": "no-store"})
    agent = _accepted(registering.find_registered(client_id, token))
    return json_response(_told(registering.Registered(agent, token)))


def _change(request: HttpRequest, client_id: str, token: str) -> HttpResponse:
    agent = _accepted(registering.find_registered(client_id, token))  # first: a stranger learns nothing
    body = _read(request)
    if body.get("client_id") != client_id or _OURS & body.keys():
        raise InvalidClientMetadata("send client_id, and nothing that this server says of the registration")
    metadata = parse_metadata(body, registering.current_offer())
    secret = body.get("client_secret")
    if secret is not None and not isinstance(secret, str):
        raise InvalidClientMetadata("client_secret is a text")
    now = timezone.now()
    proved = _proved_control(request, agent, body, now)
    answer = registering.change(client_id, token, metadata, secret, now, proved=proved)
    return json_response(_told(_accepted(answer)))


def _proved_control(request: HttpRequest, agent: Agent, body: dict[str, Any], now: datetime) -> Control | None:
    """What is registered, where whoever sends this proves to be the agent: by `client_assertion` and
    `client_assertion_type` (RFC 7521 4.2) as members of the body, or by the certificate of the connection.

    A proof that does not hold refuses the change. None: there is none.
    """
    given = [body.get(name, "") for name in ("client_assertion", "client_assertion_type")]
    if not all(isinstance(one, str) for one in given):
        raise InvalidClientMetadata("client_assertion and client_assertion_type are texts")
    certificate = certificate_of(request) if agent.uses_mutual_tls else None
    if not any(given) and certificate is None:
        return None
    try:
        if any(given):
            url = f"{settings.ISSUER_URL}/oidc/register/{agent.client_id}"
            prove_key(agent, *given, endpoint_url=url, caller=request.META["REMOTE_ADDR"], now=now)
        elif certificate:
            prove_certificate(agent, certificate, now)
    except InvalidClient as error:
        registering.record_wrong_proof(agent, now)
        wrong = "the proof is not of the key that is registered now"
        raise InvalidClientMetadata(wrong, detail=error.detail) from error
    return agent.control


def _accepted(answer: Any) -> Any:
    """The answer, where it is none of refusal."""
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
        raise InvalidClientMetadata("client metadata is a JSON object")
    return value


def _bearer(request: HttpRequest) -> str | None:
    """RFC 6750 2.1. None without the header; what is there and cannot be read is a wrong token."""
    header = request.headers.get("Authorization")
    if header is None:
        return None
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token.strip().isascii() or not token.strip():
        raise InvalidRegistrationToken()
    return token.strip()


def _told(registered: registering.Registered) -> dict[str, Any]:
    """The client information response (RFC 7591 3.2.1, RFC 7592 3)."""
    agent: Agent = registered.agent
    told = {
        **registering.metadata_of(agent),
        "client_id_issued_at": int(agent.created.timestamp()),
        "registration_access_token": registered.registration_access_token,
        "registration_client_uri": f"{settings.ISSUER_URL}/oidc/register/{agent.client_id}",
    }
    if registered.client_secret is not None:
        told |= {"client_secret": registered.client_secret, "client_secret_expires_at": 0}
    return told
