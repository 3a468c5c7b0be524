"""The use cases of agents that register themselves (RFC 7591, RFC 7592), one transaction each.

A registration grants nothing. The agent gets what the settings give to every such agent (REGISTRATION_SCOPES and its
like; in production nothing, until an administrator gives more), and no change of its own ever gives it more, or makes
it easier to pass for it.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import F, Q

from accounts.models import User
from audit import events
from audit.record import SYSTEM, About, record, record_revocation
from clients import lifecycle, names
from clients.certificates import KINDS
from clients.client_metadata import ClientMetadata, Offer
from clients.control import Control, added
from clients.errors import (
    AgentSuspended,
    InvalidClientMetadata,
    InvalidRegistrationToken,
    RegistrationClosed,
    TooManyRegistrations,
)
from clients.keys import ASSERTION_ALGORITHMS
from clients.models import CIBA, Agent, AgentLink, AgentSecret, InitialAccessToken, Registration, RegistrationAttempt
from foundation.errors import ProtocolError
from foundation.handles import digest, new_handle
from foundation.networks import counted_address
from operations.models import IDENTITY_SCOPES, OperationType, Scope

WINDOW = timedelta(hours=1)
BOUND = ("dpop_bound_access_tokens", "tls_client_certificate_bound_access_tokens")
CLOSED, TOKEN, OPEN = "closed", "token", "open"


@dataclass(frozen=True)
class Registered:
    """An agent with what it is told once: its registration access token and, where it has one, its secret."""

    agent: Agent
    registration_access_token: str
    client_secret: str | None = None


def current_offer() -> Offer:
    """What an agent may register as, here and now."""
    absent = {*Agent.SECRET_METHODS, *(() if settings.MTLS_URL else Agent.MUTUAL_TLS)}
    methods = [method.value for method in Agent.AuthMethod if method not in absent]
    bound = {"tls_client_certificate_bound_access_tokens": (False, True)} if settings.MTLS_URL else {}
    return Offer(
        grant_types=[grant_type.value for grant_type in Agent.GrantType],
        auth_methods=[*methods, *(Agent.SECRET_METHODS if settings.REGISTRATION_SECRETS else ())],
        choices={
            "id_token_signed_response_alg": ("RS256", "ES256", "PS256"),  # OpenID Connect Registration 2: RS256
            "dpop_bound_access_tokens": (False, True),
            **bound,
            "backchannel_token_delivery_mode": tuple(mode.value for mode in Agent.DeliveryMode),
            "backchannel_authentication_request_signing_alg": ("", *ASSERTION_ALGORITHMS),
            "backchannel_user_code_parameter": (False, True),
        },
        public_instead=() if settings.REGISTRATION_SECRETS else Agent.SECRET_METHODS,
        schemes=settings.REGISTRATION_PRIVATE_USE_SCHEMES,
    )


def document_offer() -> Offer:
    """What a client may be by its metadata document: without a secret, which nobody could have agreed upon."""
    methods = [Agent.AuthMethod.PRIVATE_KEY_JWT.value, Agent.AuthMethod.NONE.value]
    return replace(current_offer(), auth_methods=methods, public_instead=())


def count_attempt(address: str, now: datetime, host: str = "") -> None:
    """Counts first, so that attempts at one moment see each other. Raises TooManyRegistrations.

    One party's limit is per address, and of IPv6 per /64: it has 2**64 of those. The limit over all of them bounds
    what a botnet can leave behind. Those of documents are apart, per host.
    """
    network = counted_address(address)
    attempt = RegistrationAttempt.objects.create(network=network, host=host, at=now)
    lately = RegistrationAttempt.objects.filter(at__gt=now - WINDOW).exclude(pk=attempt.pk)
    together = lately.filter(host=host)
    if (
        lately.filter(network=network).count() >= settings.REGISTRATION_LIMIT
        or together.count() >= settings.REGISTRATION_LIMIT_TOTAL
    ):
        attempt.delete()  # else whoever keeps trying would be kept out for ever
        raise TooManyRegistrations(retry_after=int(WINDOW.total_seconds() // 4))


def register(
    metadata: ClientMetadata, address: str, unverified_token: str | None, now: datetime
) -> Registered | ProtocolError:
    """A new agent, with the settings' defaults and no more."""
    if problem := problem_with_name(metadata):
        return problem
    try:
        return _register(metadata, address, unverified_token, now)
    except ValidationError as error:
        return InvalidClientMetadata("this is no agent that can be registered", detail=str(error))


@transaction.atomic(durable=True)
def _register(
    metadata: ClientMetadata, address: str, unverified_token: str | None, now: datetime
) -> Registered | ProtocolError:
    initial = _spend_initial_token(unverified_token, now) if unverified_token else None
    if initial is None and (unverified_token or settings.REGISTRATION != OPEN):
        return RegistrationClosed() if settings.REGISTRATION == CLOSED else InvalidRegistrationToken()
    agent = Agent(registration_source=Agent.RegistrationSource.DCR)
    fill(agent, metadata)
    agent.full_clean()
    agent.save()
    give_defaults(agent)
    link_defaults(agent)
    token = new_handle()
    Registration.objects.create(
        agent=agent, token_digest=digest(token), address=address, initial_access_token=initial, created_at=now
    )
    secret = _secret(agent, now)
    record(
        events.AGENT_REGISTERED, _about(agent), now, name=agent.name, address=address,
        initial_access_token=initial.label if initial else None, **told(agent),
    )  # fmt: skip
    return Registered(agent, token, secret)


def _spend_initial_token(unverified_token: str, now: datetime) -> InitialAccessToken | None:
    """One conditional statement spends one use."""
    ours = InitialAccessToken.objects.filter(token_digest=digest(unverified_token))
    live = ours.filter(revoked_at=None, expires_at__gt=now, uses_left__gt=0)
    return ours.first() if live.update(uses_left=F("uses_left") - 1) else None


def problem_with_name(metadata: ClientMetadata) -> InvalidClientMetadata | None:
    """A client that calls itself after this server would be believed."""
    if names.passes_for_us(metadata.name, urlsplit(settings.ISSUER_URL).hostname or ""):
        return InvalidClientMetadata("client_name is the name of this server: choose another")
    return None


def fill(agent: Agent, metadata: ClientMetadata) -> None:
    """What the client says becomes the agent's; what it may do is not among it."""
    agent.name = metadata.name
    agent.application_type = metadata.application_type
    agent.redirect_uris = " ".join(metadata.redirect_uris)
    agent.post_logout_redirect_uris = " ".join(metadata.post_logout_redirect_uris)
    agent.grant_types = metadata.grant_types
    agent.token_endpoint_auth_method = metadata.token_endpoint_auth_method
    agent.client_jwks = metadata.jwks
    agent.client_jwks_uri = metadata.jwks_uri
    agent.backchannel_client_notification_endpoint = metadata.notification_endpoint
    agent.self_description = metadata.self_description
    for name, value in metadata.choices.items():
        setattr(agent, name, value)
    for kind in KINDS:
        setattr(agent, f"tls_client_auth_{kind}", metadata.certificate_names.get(kind, ""))


def give_defaults(agent: Agent) -> None:
    """Scopes and operation types of every agent that registered itself (design rule: unlisted is denied)."""
    given = settings.REGISTRATION_SCOPES
    agent.identity_scopes = ["openid", *(name for name in IDENTITY_SCOPES if name in given and name != "openid")]
    agent.save(update_fields=["identity_scopes"])
    agent.scopes.set(Scope.objects.filter(name__in=given))
    agent.operation_types.set(OperationType.objects.filter(name__in=settings.REGISTRATION_OPERATION_TYPES))


def link_defaults(agent: Agent) -> None:
    """Whom every new agent that registers itself may ask."""
    people = User.objects.filter(email__in=[email.lower() for email in settings.REGISTRATION_PEOPLE])
    AgentLink.objects.bulk_create([AgentLink(agent=agent, user=person, is_linked=True) for person in people])


def _secret(agent: Agent, now: datetime) -> str | None:
    has_secret = agent.token_endpoint_auth_method in Agent.SECRET_METHODS
    return AgentSecret.issue(agent, now) if has_secret else None


def find_registered(unverified_client_id: str, unverified_token: str) -> Agent | ProtocolError:
    """The agent whose registration this token manages. Another agent's token and an unknown agent are one answer."""
    registration = (
        Registration.objects.select_related("agent")
        .filter(token_digest=digest(unverified_token), agent__client_id=unverified_client_id)
        .first()
    )
    if registration is None or registration.agent.status == Agent.Status.UNREGISTERED:
        return InvalidRegistrationToken()
    return registration.agent if registration.agent.is_active else AgentSuspended()


def _lock_registered(unverified_client_id: str, unverified_token: str) -> Agent | ProtocolError:
    """Locks the row first and then looks at the token: of two with one token the second has a wrong one."""
    Agent.objects.select_for_update(no_key=True).filter(client_id=unverified_client_id).first()
    return find_registered(unverified_client_id, unverified_token)


def change(
    unverified_client_id: str,
    unverified_token: str,
    metadata: ClientMetadata,
    unverified_secret: str | None,
    now: datetime,
    *,
    proved: Control | None = None,
) -> Registered | ProtocolError:
    """RFC 7592 2.2: the whole registration anew; what is left out goes. The token is replaced, once.

    `proved`: what was registered when the sender proved to hold the agent's key or certificate; None: it did not.
    """
    if problem := problem_with_name(metadata):
        return problem
    try:
        return _change(unverified_client_id, unverified_token, metadata, unverified_secret, now, proved)
    except ValidationError as error:
        return InvalidClientMetadata("this is no agent that can be registered", detail=str(error))


@transaction.atomic(durable=True)
def _change(
    unverified_client_id: str,
    unverified_token: str,
    metadata: ClientMetadata,
    unverified_secret: str | None,
    now: datetime,
    proved: Control | None,
) -> Registered | ProtocolError:
    agent = _lock_registered(unverified_client_id, unverified_token)
    if isinstance(agent, ProtocolError):
        return agent
    if unverified_secret is not None and AgentSecret.find(unverified_secret, agent) is None:
        return InvalidClientMetadata("client_secret is not this agent's")  # RFC 7592 2.2
    if problem := widening(agent, metadata):
        record(events.AGENT_CHANGE_REFUSED, _about(agent), now, reason=problem)
        return InvalidClientMetadata(problem)
    before, control = metadata_of(agent), agent.control
    by_secret = unverified_secret is not None and agent.token_endpoint_auth_method in Agent.SECRET_METHODS
    is_proved = by_secret or proved == control  # an administrator may have changed it meanwhile
    fill(agent, metadata)
    agent.full_clean()
    agent.save()
    token = new_handle()
    Registration.objects.filter(agent=agent).update(token_digest=digest(token))
    changed = changes(before, agent)
    note_identity_change(agent, changed, now)
    if (more := added(control, agent.control)) and not is_proved:
        lifecycle.reset(agent, _about(agent).actor, more, now)
        take_rights(agent)
    record(
        events.AGENT_CHANGED, _about(agent), now, name=agent.name, changed=changed, proved=is_proved, **told(agent)
    )  # fmt: skip
    return Registered(agent, token)


def widening(agent: Agent, metadata: ClientMetadata) -> str | None:
    """Why this change would let the agent do more, or let it be passed for with less; or None.

    Whoever stole a registration access token has not got the key; and what an administrator narrowed stays narrow.
    """
    if metadata.token_endpoint_auth_method != agent.token_endpoint_auth_method:
        return "token_endpoint_auth_method cannot be changed: register anew"
    if not set(metadata.grant_types) <= set(agent.grant_types):
        return "grant_types cannot be added: register anew"
    if metadata.certificate_names != {kind: name for kind, name in agent.tls_client_auth_names.items() if name}:
        return "the certificate's name cannot be changed: register anew"
    if any(getattr(agent, name) and not metadata.choices.get(name, True) for name in BOUND):
        return "tokens that are bound to a key stay bound: register anew"
    return None


@transaction.atomic(durable=True)
def record_wrong_proof(agent: Agent, now: datetime) -> None:
    record(events.AGENT_CHANGE_REFUSED, _about(agent), now, reason="the proof of the registered key does not hold")


def take_rights(agent: Agent) -> None:
    """What an administrator gave to the agent was not given to whoever controls it now: it is as newly registered."""
    give_defaults(agent)
    agent.groups.clear()
    Agent.objects.filter(pk=agent.pk).update(user=None)


@transaction.atomic(durable=True)
def unregister(unverified_client_id: str, unverified_token: str, now: datetime) -> ProtocolError | None:
    """RFC 7592 2.3. Its token and secrets go; its row stays for the audit trail, and for nothing else."""
    agent = _lock_registered(unverified_client_id, unverified_token)
    if isinstance(agent, ProtocolError):
        return agent
    if not lifecycle.unregister(agent, _about(agent), now):
        return InvalidRegistrationToken()
    Registration.objects.filter(agent=agent).update(token_digest=None)
    AgentSecret.objects.filter(agent=agent, revoked_at=None).update(revoked_at=now)
    return None


def metadata_of(agent: Agent) -> dict[str, Any]:
    """What is registered, whole, as the client is told (RFC 7591 3.2.1)."""
    scopes = [*agent.identity_scopes, *agent.scopes.order_by("name").values_list("name", flat=True)]
    known: dict[str, Any] = {
        "client_id": agent.client_id,
        "client_name": agent.name,
        "application_type": agent.application_type,
        "redirect_uris": agent.redirect_uris.split(),
        "post_logout_redirect_uris": agent.post_logout_redirect_uris.split(),
        "grant_types": agent.grant_types,
        "response_types": ["code"] if agent.redirect_uris and "authorization_code" in agent.grant_types else [],
        "token_endpoint_auth_method": agent.token_endpoint_auth_method,
        "scope": " ".join(scopes),
        "authorization_details_types": sorted(agent.operation_types.values_list("name", flat=True)),  # RFC 9396 10
        "subject_type": "public",
        **_choices_of(agent),
        **agent.self_description,
    }
    if agent.backchannel_client_notification_endpoint:
        known["backchannel_client_notification_endpoint"] = agent.backchannel_client_notification_endpoint
    known |= {f"tls_client_auth_{kind}": name for kind, name in agent.tls_client_auth_names.items() if name}
    if agent.client_jwks is not None:
        known["jwks"] = agent.client_jwks
    if agent.client_jwks_uri:
        known["jwks_uri"] = agent.client_jwks_uri
    return known


def _choices_of(agent: Agent) -> dict[str, Any]:
    """CIBA's are told to those that use it."""
    chosen = {name: getattr(agent, name) for name in current_offer().choices}
    asks = agent.allows_grant_type(CIBA)
    return {
        name: value for name, value in chosen.items() if value != "" and (asks or not name.startswith("backchannel"))
    }


@transaction.atomic
def make_initial_token(token: InitialAccessToken, by: User, now: datetime) -> str:
    """Saves it under a new handle, which is returned once. Takes part in the administration's transaction."""
    handle = new_handle()
    token.token_digest, token.made_by, token.created_at = digest(handle), by, now
    token.save()
    about = About(f"user:{by.id}")
    record(
        events.INITIAL_ACCESS_TOKEN_MADE, about, now, label=token.label, uses=token.uses_left,
        expires_at=token.expires_at.isoformat(),
    )  # fmt: skip
    return handle


@transaction.atomic
def revoke_initial_token(token: InitialAccessToken, by: User, now: datetime) -> bool:
    if not InitialAccessToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=now):
        return False
    record_revocation(events.INITIAL_ACCESS_TOKEN_REVOKED, About(f"user:{by.id}"), now, label=token.label)
    return True


@transaction.atomic(durable=True)
def sweep(now: datetime, batch: int) -> int:
    """Deletes registrations that nobody used in time, and old attempts; at most `batch` of each."""
    old = RegistrationAttempt.objects.filter(at__lt=now - WINDOW).order_by("at")[:batch]
    gone, _ = RegistrationAttempt.objects.filter(pk__in=old.values("pk")).delete()
    since = now - timedelta(seconds=settings.REGISTRATION_UNUSED_LIFETIME)
    by_itself = ~Q(registration_source=Agent.RegistrationSource.MANUAL)
    unused = Agent.objects.filter(by_itself, first_used_at=None, created__lt=since).order_by("pk")
    for agent in (found := list(unused.select_for_update(skip_locked=True)[:batch])):
        record(events.AGENT_EXPIRED, About(SYSTEM, client_id=agent.client_id), now, name=agent.name)
        agent.delete()
    return gone + len(found)


def _about(agent: Agent) -> About:
    return About(f"agent:{agent.client_id}", client_id=agent.client_id)


def changes(before: dict[str, Any], agent: Agent) -> list[str]:
    """The names of the metadata that differ from those of `before`."""
    after = metadata_of(agent)
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def note_identity_change(agent: Agent, changed: list[str], now: datetime) -> None:
    """What the user reads is not what it was: consents from before are asked for again. See also lifecycle.reset."""
    if "client_name" in changed:
        Agent.objects.filter(pk=agent.pk).update(identity_changed_at=now)


def told(agent: Agent) -> dict[str, Any]:
    """What decides who can pass for the agent, for the audit trail."""
    return {
        "redirect_uris": agent.redirect_uris.split(),
        "token_endpoint_auth_method": agent.token_endpoint_auth_method,
        "grant_types": agent.grant_types,
        "jwks_uri": agent.client_jwks_uri,
        "certificate": {kind: name for kind, name in agent.tls_client_auth_names.items() if name},
        "key_ids": [key.get("kid") for key in (agent.client_jwks or {}).get("keys", [])],
    }
