"""Use cases of agents that register themselves (RFC 7591, RFC 7592), one transaction each.

A registration grants nothing. The agent gets the defaults of the settings for self-registered
agents (REGISTRATION_SCOPES and similar settings). In production these are empty until an
administrator gives more. A change by the agent itself never adds rights and never makes the agent
easier to impersonate.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import F, Q

from accounts.models import User
from audit import events
from audit.record import SYSTEM, About, record, record_revocation
from clients import defaults, lifecycle, names
from clients.certificates import SUBJECT_KINDS
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
from clients.models import CIBA, Agent, AgentSecret, InitialAccessToken, Registration
from foundation.attempt_limits import AttemptLimit
from foundation.attempts import AttemptCounter
from foundation.errors import ProtocolError
from foundation.handles import digest, new_handle
from foundation.networks import counted_address

ATTEMPTS = AttemptCounter("registration", timedelta(hours=1))
SENDER_CONSTRAINTS = ("dpop_bound_access_tokens", "tls_client_certificate_bound_access_tokens")
REGISTRATION_CLOSED, REGISTRATION_BY_TOKEN, REGISTRATION_OPEN = "closed", "token", "open"


@dataclass(frozen=True)
class RegisteredAgent:
    """A registered agent with its registered metadata (`metadata_of`) and its one-time values: the registration
    access token and, if it has one, the secret.
    """

    agent: Agent
    metadata: dict[str, Any]
    registration_access_token: str
    client_secret: str | None = None


def current_offer() -> Offer:
    """What an agent may register as, with the current settings."""
    absent = {*Agent.SECRET_METHODS, *(() if settings.MTLS_URL else Agent.MUTUAL_TLS)}
    methods = [method.value for method in Agent.AuthMethod if method not in absent]
    bound = {"tls_client_certificate_bound_access_tokens": (False, True)} if settings.MTLS_URL else {}
    return Offer(
        grant_types=[grant_type.value for grant_type in Agent.GrantType],
        auth_methods=[*methods, *(Agent.SECRET_METHODS if settings.REGISTRATION_SECRETS else ())],
        choices={
            # OpenID Connect Registration 2: the default is RS256
            "id_token_signed_response_alg": ("RS256", "ES256", "PS256"),
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
    """What a client may be by its metadata document: without a secret, because no exchange could agree on one."""
    methods = [Agent.AuthMethod.PRIVATE_KEY_JWT.value, Agent.AuthMethod.NONE.value]
    return replace(current_offer(), auth_methods=methods, public_instead=())


def count_attempt(address: str, now: datetime, host: str = "") -> None:
    """Counts an attempt before judging it, so that concurrent attempts see each other. Raises TooManyRegistrations.

    The limit of one party is per address; an IPv6 address counts as its /64, because one party has
    2**64 addresses. The limit over all addresses bounds what a botnet can create. That limit counts
    metadata documents separately, per host.
    """
    limits = [
        AttemptLimit(f"address {counted_address(address)}", settings.REGISTRATION_LIMIT),
        AttemptLimit(f"host {host}", settings.REGISTRATION_LIMIT_TOTAL),
    ]
    if not ATTEMPTS.record_attempt(limits, now):
        raise TooManyRegistrations(retry_after=int(ATTEMPTS.window.total_seconds() // 4))


def register(
    metadata: ClientMetadata, address: str, unverified_token: str | None, now: datetime
) -> RegisteredAgent | ProtocolError:
    """Registers a new agent with the defaults of the settings."""
    if problem := problem_with_name(metadata):
        return problem
    try:
        return _register(metadata, address, unverified_token, now)
    except ValidationError as error:
        return InvalidClientMetadata("this server cannot register this agent", detail=str(error))


@transaction.atomic(durable=True)
def _register(
    metadata: ClientMetadata, address: str, unverified_token: str | None, now: datetime
) -> RegisteredAgent | ProtocolError:
    initial = _spend_initial_token(unverified_token, now) if unverified_token else None
    if initial is None and (unverified_token or settings.REGISTRATION != REGISTRATION_OPEN):
        return RegistrationClosed() if settings.REGISTRATION == REGISTRATION_CLOSED else InvalidRegistrationToken()
    agent = Agent(registration_source=Agent.RegistrationSource.DCR, identity_scopes=defaults.identity_scopes())
    fill(agent, metadata)
    _save_new(agent)
    rights = defaults.give(agent)
    token = new_handle()
    Registration.objects.create(
        agent=agent, token_digest=digest(token), address=address, initial_access_token=initial, created_at=now
    )
    secret = _secret(agent, now)
    record(
        events.AGENT_REGISTERED, _about(agent), now, name=agent.name, address=address,
        initial_access_token=initial.label if initial else None, **client_information(agent),
    )  # fmt: skip
    return RegisteredAgent(agent, metadata_of(agent, rights), token, secret)


def _save_new(agent: Agent) -> None:
    """Saves the agent. Raises ValidationError."""
    # Django would ask the database whether the row fits its constraints; the INSERT asks it anyway.
    agent.full_clean(validate_unique=False, validate_constraints=False)
    try:
        agent.save(force_insert=True)
    except IntegrityError as error:
        # Without PostgreSQL's text: it has the row, which the agent wrote, and this one is logged.
        raise ValidationError("the database refused the new agent") from error


def _spend_initial_token(unverified_token: str, now: datetime) -> InitialAccessToken | None:
    """Spends one use of the token in one conditional statement."""
    ours = InitialAccessToken.objects.filter(token_digest=digest(unverified_token))
    live = ours.filter(revoked_at=None, expires_at__gt=now, uses_left__gt=0)
    return ours.first() if live.update(uses_left=F("uses_left") - 1) else None


def problem_with_name(metadata: ClientMetadata) -> InvalidClientMetadata | None:
    """Refuses a name that imitates this server, because users would trust it."""
    if names.passes_for_us(metadata.name, urlsplit(settings.ISSUER_URL).hostname or ""):
        return InvalidClientMetadata("client_name is the name of this server: choose another name")
    return None


def fill(agent: Agent, metadata: ClientMetadata) -> None:
    """Copies the client's metadata to the agent. The agent's rights are not part of it."""
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
    for kind in SUBJECT_KINDS:
        setattr(agent, f"tls_client_auth_{kind}", metadata.certificate_names.get(kind, ""))


def _secret(agent: Agent, now: datetime) -> str | None:
    has_secret = agent.token_endpoint_auth_method in Agent.SECRET_METHODS
    return AgentSecret.issue_first(agent, now) if has_secret else None


def find_registered(unverified_client_id: str, unverified_token: str) -> Agent | ProtocolError:
    """The agent whose registration this token manages. One answer covers another agent's token and an unknown agent."""
    registration = (
        Registration.objects.select_related("agent")
        .filter(token_digest=digest(unverified_token), agent__client_id=unverified_client_id)
        .first()
    )
    if registration is None or registration.agent.status == Agent.Status.UNREGISTERED:
        return InvalidRegistrationToken()
    return registration.agent if registration.agent.is_active else AgentSuspended()


def _lock_registered(unverified_client_id: str, unverified_token: str) -> Agent | ProtocolError:
    """Locks the row before checking the token: of two concurrent calls with one token, the second has a wrong token."""
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
) -> RegisteredAgent | ProtocolError:
    """Replaces the whole registration (RFC 7592 2.2): members that are left out are removed. Replaces the token too.

    `proved` is the registered control at the moment when the sender proved the agent's key or
    certificate; None without a proof.
    """
    if problem := problem_with_name(metadata):
        return problem
    try:
        return _change(unverified_client_id, unverified_token, metadata, unverified_secret, now, proved)
    except ValidationError as error:
        return InvalidClientMetadata("this server cannot register this agent", detail=str(error))


@transaction.atomic(durable=True)
def _change(
    unverified_client_id: str,
    unverified_token: str,
    metadata: ClientMetadata,
    unverified_secret: str | None,
    now: datetime,
    proved: Control | None,
) -> RegisteredAgent | ProtocolError:
    agent = _lock_registered(unverified_client_id, unverified_token)
    if isinstance(agent, ProtocolError):
        return agent
    if unverified_secret is not None and AgentSecret.find(unverified_secret, agent) is None:
        return InvalidClientMetadata("client_secret is wrong")  # RFC 7592 2.2
    if problem := widening(agent, metadata):
        record(events.AGENT_CHANGE_REFUSED, _about(agent), now, reason=problem)
        return InvalidClientMetadata(problem)
    before, control = metadata_of(agent), agent.control
    by_secret = unverified_secret is not None and agent.token_endpoint_auth_method in Agent.SECRET_METHODS
    is_proved = by_secret or proved == control  # an administrator may have changed it since the proof
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
        events.AGENT_CHANGED, _about(agent), now, name=agent.name, changed=changed, proved=is_proved,
        **client_information(agent),
    )  # fmt: skip
    return RegisteredAgent(agent, metadata_of(agent), token)


def widening(agent: Agent, metadata: ClientMetadata) -> str | None:
    """Why this change would add rights or make the agent easier to impersonate, or None.

    A thief of a registration access token does not have the key. A limit that an administrator set
    must stay.
    """
    if metadata.token_endpoint_auth_method != agent.token_endpoint_auth_method:
        return "token_endpoint_auth_method cannot be changed: register a new agent"
    if not set(metadata.grant_types) <= set(agent.grant_types):
        return "grant_types cannot be added: register a new agent"
    if metadata.certificate_names != {kind: name for kind, name in agent.tls_client_auth_names.items() if name}:
        return "the certificate's name cannot be changed: register a new agent"
    if any(getattr(agent, name) and not metadata.choices.get(name, True) for name in SENDER_CONSTRAINTS):
        return "the binding of tokens to a key cannot be removed: register a new agent"
    return None


@transaction.atomic(durable=True)
def record_wrong_proof(agent: Agent, now: datetime) -> None:
    record(events.AGENT_CHANGE_REFUSED, _about(agent), now, reason="the proof of the registered key is not valid")


def take_rights(agent: Agent) -> None:
    """Removes the rights that an administrator gave to the previous party in control: only the defaults remain."""
    defaults.restore(agent)
    agent.groups.clear()
    Agent.objects.filter(pk=agent.pk).update(user=None)


@transaction.atomic(durable=True)
def unregister(unverified_client_id: str, unverified_token: str, now: datetime) -> ProtocolError | None:
    """Unregisters the agent (RFC 7592 2.3). Its token and secrets end; its row remains for the audit log only."""
    agent = _lock_registered(unverified_client_id, unverified_token)
    if isinstance(agent, ProtocolError):
        return agent
    if not lifecycle.unregister(agent, _about(agent), now):
        return InvalidRegistrationToken()
    Registration.objects.filter(agent=agent).update(token_digest=None)
    AgentSecret.objects.filter(agent=agent, revoked_at=None).update(revoked_at=now)
    return None


def metadata_of(agent: Agent, rights: defaults.Rights | None = None) -> dict[str, Any]:
    """The complete registered metadata, as the client receives it (RFC 7591 3.2.1).

    Without `rights`, reads what the agent may ask for.
    """
    rights = rights or defaults.rights_of(agent)
    known: dict[str, Any] = {
        "client_id": agent.client_id,
        "client_name": agent.name,
        "application_type": agent.application_type,
        "redirect_uris": agent.redirect_uris.split(),
        "post_logout_redirect_uris": agent.post_logout_redirect_uris.split(),
        "grant_types": agent.grant_types,
        "response_types": ["code"] if agent.redirect_uris and "authorization_code" in agent.grant_types else [],
        "token_endpoint_auth_method": agent.token_endpoint_auth_method,
        "scope": " ".join([*agent.identity_scopes, *rights.scopes]),
        "authorization_details_types": rights.operation_types,  # RFC 9396 10
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
    """The chosen values; those of CIBA only for an agent that uses CIBA."""
    chosen = {name: getattr(agent, name) for name in current_offer().choices}
    uses_ciba = agent.allows_grant_type(CIBA)
    return {
        name: value
        for name, value in chosen.items()
        if value != "" and (uses_ciba or not name.startswith("backchannel"))
    }


@transaction.atomic
def make_initial_token(token: InitialAccessToken, by: User, now: datetime) -> str:
    """Saves the token under a new handle and returns it, once. Runs in the administration's transaction."""
    handle = new_handle()
    token.token_digest, token.created_by, token.created_at = digest(handle), by, now
    token.save()
    about = About(f"user:{by.id}")
    record(
        events.INITIAL_ACCESS_TOKEN_CREATED, about, now, label=token.label, uses=token.uses_left,
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
    """Deletes registrations that were not used in time, at most `batch`."""
    since = now - timedelta(seconds=settings.REGISTRATION_UNUSED_LIFETIME)
    by_itself = ~Q(registration_source=Agent.RegistrationSource.MANUAL)
    unused = Agent.objects.filter(by_itself, first_used_at=None, created__lt=since).order_by("pk")
    for agent in (found := list(unused.select_for_update(skip_locked=True)[:batch])):
        record(events.AGENT_EXPIRED, About(SYSTEM, client_id=agent.client_id), now, name=agent.name)
        agent.delete()
    return len(found)


def _about(agent: Agent) -> About:
    return About(f"agent:{agent.client_id}", client_id=agent.client_id)


def changes(before: dict[str, Any], agent: Agent) -> list[str]:
    """The names of the members that differ from `before`."""
    after = metadata_of(agent)
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def note_identity_change(agent: Agent, changed: list[str], now: datetime) -> None:
    """Records a change of the displayed name, so that users are asked again for consent. See also lifecycle.reset."""
    if "client_name" in changed:
        Agent.objects.filter(pk=agent.pk).update(identity_changed_at=now)


def client_information(agent: Agent) -> dict[str, Any]:
    """The fields that decide who controls the agent, for audit events."""
    return {
        "redirect_uris": agent.redirect_uris.split(),
        "token_endpoint_auth_method": agent.token_endpoint_auth_method,
        "grant_types": agent.grant_types,
        "jwks_uri": agent.client_jwks_uri,
        "certificate": {kind: name for kind, name in agent.tls_client_auth_names.items() if name},
        "key_ids": [key.get("kid") for key in (agent.client_jwks or {}).get("keys", [])],
    }
