"""Agents: their authentication, their rights, and the users they may ask."""

from collections.abc import Collection
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth.models import Group
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils.functional import cached_property
from oauth2_provider.models import AbstractApplication

from clients import agent_checks, certificates, keys, names, profiles
from clients.client_metadata import host_of_document
from clients.control import Control
from clients.profiles import Constraint, Profile
from foundation import outbound
from foundation.compiled_queries import CompiledQuery, Parameter
from foundation.generated_secrets import GeneratedSecret
from foundation.plaintext import problem_with
from foundation.remote_jwks import StoredKeySet
from operations.models import IDENTITY_SCOPES, OperationType, Scope

CIBA = "urn:openid:params:grant-type:ciba"
CLIENT_CREDENTIALS = "client_credentials"
AUTHORIZATION_CODE = "authorization_code"
REFRESH_TOKEN = "refresh_token"  # noqa: S105 - a grant type's name
ID_TOKEN_ALGORITHMS = profiles.DEMANDS[Profile.CIBA].id_token_algorithms  # for an agent without a FAPI profile


UNVERIFIED = "self-registered, not verified"
UNVERIFIED_NAMESAKE = f"{UNVERIFIED}: it is NOT the agent with this name that an administrator registered"


# The fields that find_registration_problem reads.
JUDGED_FIELDS = frozenset(
    {
        "profile", "token_endpoint_auth_method", "client_jwks", "dpop_bound_access_tokens",
        "tls_client_certificate_bound_access_tokens", "backchannel_token_delivery_mode",
        "backchannel_authentication_request_signing_alg", "id_token_signed_response_alg",
    }
)  # fmt: skip


def default_identity_scopes() -> list[str]:
    return ["openid"]


class Agent(AbstractApplication):
    """An OAuth client. `user` (django-oauth-toolkit's name) is its owner.

    Its secrets are AgentSecret rows: the `client_secret` column of django-oauth-toolkit stays empty and
    is never compared.
    """

    class Status(models.TextChoices):
        ACTIVE = "active"
        SUSPENDED = "suspended"
        UNREGISTERED = "unregistered"  # by the agent itself (RFC 7592 2.3); final

    class AuthMethod(models.TextChoices):
        PRIVATE_KEY_JWT = "private_key_jwt", "private_key_jwt (signed assertion)"
        TLS_CLIENT_AUTH = "tls_client_auth", "tls_client_auth (certificate of a trusted authority)"
        SELF_SIGNED_TLS_CLIENT_AUTH = (
            "self_signed_tls_client_auth",
            "self_signed_tls_client_auth (registered certificate)",
        )
        CLIENT_SECRET_BASIC = "client_secret_basic", "client_secret_basic (static secret)"
        CLIENT_SECRET_POST = "client_secret_post", "client_secret_post (static secret)"
        NONE = "none", "none (public client: code and refresh only)"

    MUTUAL_TLS: ClassVar = (AuthMethod.TLS_CLIENT_AUTH, AuthMethod.SELF_SIGNED_TLS_CLIENT_AUTH)

    class AssertionAudience(models.TextChoices):
        ANY = "any", "issuer, token endpoint or called endpoint"
        ISSUER = "issuer", "issuer only (FAPI)"

    class DeliveryMode(models.TextChoices):
        POLL = "poll", "poll: the agent polls for its tokens"
        PING = "ping", "ping: Countersign tells the agent when to fetch its tokens"
        PUSH = "push", "push: Countersign sends the tokens to the agent"

    class GrantType(models.TextChoices):
        CIBA = CIBA, "CIBA: a user approves on another device"
        CLIENT_CREDENTIALS = CLIENT_CREDENTIALS, "client_credentials: routine work without a user"
        AUTHORIZATION_CODE = AUTHORIZATION_CODE, "authorization_code: a user consents in the browser"
        REFRESH_TOKEN = REFRESH_TOKEN, "refresh_token: keep access while the user is away"

    # django-oauth-toolkit's own columns with fixed values: an agent has several grant types, and
    # AgentSecret holds the secrets.
    client_type = models.CharField(max_length=32, default=AbstractApplication.CLIENT_CONFIDENTIAL, editable=False)
    authorization_grant_type = models.CharField(
        max_length=44, default=AbstractApplication.GRANT_CLIENT_CREDENTIALS, editable=False
    )
    client_secret = models.CharField(max_length=255, blank=True, default="", editable=False)

    profile = models.CharField(
        max_length=20, default=Profile.CIBA, choices=[(one.value, one.value) for one in Profile],
        help_text="The security profile that the agent must follow (docs/standards.md).",
    )  # fmt: skip
    status = models.CharField(max_length=12, choices=Status.choices, default=Status.ACTIVE, editable=False)
    grant_types = ArrayField(models.CharField(max_length=60, choices=GrantType.choices), default=list)
    token_endpoint_auth_method = models.CharField(
        "client authentication", max_length=30, choices=AuthMethod.choices, default=AuthMethod.PRIVATE_KEY_JWT
    )
    client_jwks = models.JSONField(
        "public keys (JWK Set)", null=True, blank=True, help_text='{"keys": [...]}: ES256, PS256, EdDSA or RS256.'
    )
    client_jwks_uri = models.CharField(
        "address of public keys",
        max_length=outbound.MAX_URL,
        blank=True,
        help_text="Instead of the keys: an https address where the agent publishes them (jwks_uri).",
    )
    assertion_audience = models.CharField(
        max_length=10, choices=AssertionAudience.choices, default=AssertionAudience.ANY
    )
    dpop_bound_access_tokens = models.BooleanField(
        "only DPoP-bound tokens", default=False, help_text="RFC 9449: no token without a proof of the agent's key."
    )
    tls_client_certificate_bound_access_tokens = models.BooleanField(
        "only certificate-bound tokens", default=False, help_text="RFC 8705: no token without mutual TLS."
    )
    # RFC 8705 2.1.2: exactly one, for tls_client_auth.
    tls_client_auth_subject_dn = models.CharField("certificate's subject (RFC 4514)", max_length=500, blank=True)
    tls_client_auth_san_dns = models.CharField("certificate's DNS name", max_length=255, blank=True)
    tls_client_auth_san_uri = models.CharField("certificate's URI", max_length=500, blank=True)
    tls_client_auth_san_ip = models.CharField("certificate's IP address", max_length=45, blank=True)
    tls_client_auth_san_email = models.CharField("certificate's e-mail address", max_length=320, blank=True)
    id_token_signed_response_alg = models.CharField(
        max_length=5, choices=[(name, name) for name in ID_TOKEN_ALGORITHMS], default="ES256"
    )
    backchannel_token_delivery_mode = models.CharField(
        "CIBA delivery", max_length=4, choices=DeliveryMode.choices, default=DeliveryMode.POLL
    )
    backchannel_client_notification_endpoint = models.CharField(
        "address for ping and push", max_length=outbound.MAX_URL, blank=True,
        help_text="An https address of the agent, on a public host. Countersign follows no redirects.",
    )  # fmt: skip
    backchannel_user_code_parameter = models.BooleanField(
        "user codes",
        default=False,
        help_text="The agent sends user_code. It can ask a user who has set a code only with that code.",
    )
    max_lease_lifetime = models.PositiveIntegerField(
        "maximum lease lifetime", null=True, blank=True, validators=[MinValueValidator(10)],
        help_text="Maximum lifetime of a lease in seconds, with all renewals. Empty: the limit of the role.",
    )  # fmt: skip
    max_leases = models.PositiveIntegerField(
        "maximum leases", null=True, blank=True, validators=[MinValueValidator(1)],
        help_text="Maximum number of live leases over all roles. Empty: LEASES_MAX_PER_AGENT.",
    )  # fmt: skip
    backchannel_authentication_request_signing_alg = models.CharField(
        "signed requests", max_length=5, blank=True, choices=[(name, name) for name in keys.ASSERTION_ALGORITHMS],
        help_text="With an algorithm, the agent must sign each CIBA request with it. Without one, it may sign.",
    )  # fmt: skip
    pkce_exempt = models.BooleanField(
        "exempt from PKCE", default=False,
        help_text="Only for a confidential OpenID client that cannot do PKCE. Each of its authorization requests "
        "without code_challenge then needs openid and a nonce.",
    )  # fmt: skip
    identity_scopes = ArrayField(
        models.CharField(max_length=20, choices=[(s, s) for s in IDENTITY_SCOPES]),
        default=default_identity_scopes, blank=True,
    )  # fmt: skip
    scopes = models.ManyToManyField(Scope, blank=True, related_name="agents")
    operation_types = models.ManyToManyField(OperationType, blank=True, related_name="agents")
    # A self-registered client's own description (RFC 7591 2). No decision uses it.
    application_type = models.CharField(max_length=6, choices=[("web", "web"), ("native", "native")], default="web")
    self_description = models.JSONField(default=dict, blank=True, editable=False)
    # When a change of its registration or document last changed its identity. Users who consented
    # before are asked for consent again.
    identity_changed_at = models.DateTimeField(null=True, editable=False)
    # Equal for names that look alike (clients/names.py).
    name_skeleton = models.CharField(max_length=255, blank=True, default="", db_default="", editable=False)
    # Raised when another party may control the agent. Grants, requests and consents of an earlier
    # epoch are invalid.
    control_epoch = models.PositiveIntegerField(default=0, db_default=0, editable=False)
    # Why the registration does not meet its profile, by the demands of `demands_version`; empty: it
    # does (clients/profiles.py). Version 0: not judged as it stands.
    registration_problem = models.CharField(
        "problem with the registration", max_length=300, blank=True, default="", db_default="", editable=False
    )
    demands_version = models.PositiveSmallIntegerField(default=0, db_default=0, editable=False)
    # When the agent was first used. A registration that is never used is deleted
    # (clients/registration.py).
    first_used_at = models.DateTimeField(null=True, editable=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, editable=False, on_delete=models.SET_NULL, related_name="+",
        help_text="The member of staff who added the agent. A developer changes only these.",
    )  # fmt: skip
    groups = models.ManyToManyField(
        Group, blank=True, related_name="agents", help_text="The agent may ask every user in these groups."
    )

    class Meta(AbstractApplication.Meta):
        abstract = False
        swappable = "OAUTH2_PROVIDER_APPLICATION_MODEL"
        verbose_name = "agent"
        default_permissions = ("add", "change", "view")
        permissions = [
            ("suspend_agent", "Can suspend agents and revoke what was issued to them"),
            ("change_own_agent", "Can add agents, and change the agents that they added except for what these may do"),
        ]
        constraints = [
            # An https client_id is the URL of the document that vouches for the client, so no other
            # agent may have one.
            models.CheckConstraint(
                name="agent_https_client_id_is_a_document",
                condition=models.Q(client_id__startswith="https://", registration_source="cimd")
                | (~models.Q(client_id__istartswith="http") & ~models.Q(registration_source="cimd")),
            )
        ]
        indexes = [
            models.Index(
                fields=["name_skeleton"], name="agent_known_names", condition=models.Q(registration_source="manual")
            ),
            models.Index(fields=["demands_version"], name="agent_demands_version"),
            models.Index(
                fields=["id"],
                name="agent_certificates",
                condition=models.Q(token_endpoint_auth_method="self_signed_tls_client_auth"),  # noqa: S106 - a method
            ),
        ]

    def __str__(self) -> str:
        return str(self.name or self.client_id)

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.name_skeleton = names.skeleton(self.name)[:255]
        self.registration_problem = self.find_registration_problem()
        self.demands_version = profiles.DEMANDS_VERSION
        if (written := kwargs.get("update_fields")) is not None:
            follow = ["name_skeleton"] if "name" in written else []
            if not JUDGED_FIELDS.isdisjoint(written):
                follow += ["registration_problem", "demands_version"]
                # The row may have other values in the fields that are not written: it is judged as it is read.
                self.demands_version = 0
            kwargs["update_fields"] = [*written, *follow]
        super().save(*args, **kwargs)

    def clean(self) -> None:
        """Replaces django-oauth-toolkit's validation, which knows one grant type and other redirect URIs."""
        if problem := problem_with(self.name, max_length=60) or (None if self.name.strip() else "is empty"):
            raise ValidationError({"name": f"The name {problem}."})
        if self.client_jwks is not None and (problem := keys.problem_with(self.client_jwks)):
            raise ValidationError({"client_jwks": problem})
        if self.profile not in tuple(Profile):
            raise ValidationError({"profile": "This profile does not exist."})
        # Who registered itself need not name one, and its default is RS256 (OpenID Connect Registration 2).
        choices = self.demands.id_token_algorithms
        if self.registered_itself and self.id_token_signed_response_alg not in choices:
            self.id_token_signed_response_alg = choices[0]
        agent_checks.check(self)

    SECRET_METHODS: ClassVar[tuple[str, ...]] = (AuthMethod.CLIENT_SECRET_BASIC, AuthMethod.CLIENT_SECRET_POST)

    @property
    def is_public(self) -> bool:
        """Whether the agent cannot authenticate (RFC 6749 2.1)."""
        return self.token_endpoint_auth_method == self.AuthMethod.NONE

    @property
    def private_use_schemes(self) -> list[str]:
        """Schemes without a dot that its redirect URIs may use.

        Only a public client has them, whose codes need PKCE.
        """
        return list(settings.REGISTRATION_PRIVATE_USE_SCHEMES) if self.is_public else []

    @property
    def _signs(self) -> bool:
        return self.token_endpoint_auth_method == self.AuthMethod.PRIVATE_KEY_JWT or self.must_sign_requests

    @property
    def registered(self) -> profiles.RegisteredTraits:
        return profiles.RegisteredTraits(
            auth_method=self.token_endpoint_auth_method,
            constraints=self.constraints,
            delivery_mode=self.backchannel_token_delivery_mode,
            request_signing_algorithm=self.backchannel_authentication_request_signing_alg,
            id_token_algorithm=self.id_token_signed_response_alg,
            key_algorithms=keys.signing_algorithms(self.client_jwks) if self._signs and self.client_jwks else None,
        )

    def find_registration_problem(self) -> str:
        """Why the registration does not meet the demands of its profile; empty: it does.

        The one check: forms, self-registrations and metadata documents refuse what has a problem
        (`clean`), and `save` stores it.
        """
        if self.profile not in tuple(Profile):
            return "the profile does not exist"
        if self.client_jwks is not None and (problem := keys.problem_with(self.client_jwks)):
            return f"the keys cannot be used: {problem}"[:300]
        return profiles.problem_with(self.registered, Profile(self.profile)) or ""

    @property
    def current_problem(self) -> str:
        """Why the agent cannot ask for anything; empty: it can.

        Judged here only until a sweeper has stored the verdict: after changed demands, and after a save of some
        fields.
        """
        is_current = self.demands_version == profiles.DEMANDS_VERSION
        return self.registration_problem if is_current else self.find_registration_problem()

    @property
    def demands(self) -> profiles.Demands:
        """The demands of its profile on top of the general rules."""
        return profiles.DEMANDS[Profile(self.profile)]

    @property
    def constraints(self) -> frozenset[Constraint]:
        """The constraints that its own registration puts on all its tokens."""
        own = {
            Constraint.DPOP: self.dpop_bound_access_tokens,
            Constraint.MUTUAL_TLS: self.tls_client_certificate_bound_access_tokens,
        }
        return frozenset(kind for kind, is_demanded in own.items() if is_demanded)

    @property
    def uses_mutual_tls(self) -> bool:
        """Whether it authenticates by a certificate."""
        return self.token_endpoint_auth_method in self.MUTUAL_TLS

    @property
    def tls_client_auth_names(self) -> dict[str, str]:
        return {kind: getattr(self, f"tls_client_auth_{kind}") for kind in certificates.SUBJECT_KINDS}

    @property
    def control(self) -> Control:
        return Control(
            token_endpoint_auth_method=self.token_endpoint_auth_method,
            keys=keys.thumbprints(self.client_jwks),
            jwks_uri=self.client_jwks_uri,
            certificate=frozenset((kind, name) for kind, name in self.tls_client_auth_names.items() if name),
            redirect_uris=frozenset(self.redirect_uris.split()),
            notification_endpoint=self.backchannel_client_notification_endpoint,
            delivery_mode=self.backchannel_token_delivery_mode,
        )

    @property
    def verified_host(self) -> str | None:
        """The host of its Client ID Metadata Document, which vouches for it.

        Empty for others, whose names are unverified.
        """
        if self.registration_source != self.RegistrationSource.CIMD:
            return None
        return host_of_document(self.client_id)

    @property
    def registered_itself(self) -> bool:
        return bool(self.registration_source != self.RegistrationSource.MANUAL)

    @cached_property
    def mark(self) -> str:
        """The mark that every page displays beside the name of a self-registered agent; empty for all others."""
        if not self.registered_itself:
            return ""
        known = Agent.objects.filter(registration_source=self.RegistrationSource.MANUAL)
        if known.filter(name_skeleton=self.name_skeleton).exists():
            return UNVERIFIED_NAMESAKE
        return UNVERIFIED

    @property
    def is_active(self) -> bool:
        return self.status == self.Status.ACTIVE

    @property
    def may_omit_pkce(self) -> bool:
        """Whether PKCE is optional. Checked at each request, because the row may have been changed outside the form."""
        return self.pkce_exempt and not self.is_public and not self.demands.pkce

    @property
    def must_sign_requests(self) -> bool:
        """CIBA Core 4: if an algorithm is registered, unsigned requests are refused."""
        return self.demands.signed_requests or bool(self.backchannel_authentication_request_signing_alg)

    @property
    def request_signing_algorithms(self) -> tuple[str, ...]:
        registered = self.backchannel_authentication_request_signing_alg
        return (registered,) if registered else self.demands.signing_algorithms

    def allows_grant_type(self, *grant_types: str) -> bool:
        return bool(set(self.grant_types) & set(grant_types))

    def is_usable(self, _request: Any) -> bool:
        """django-oauth-toolkit's hook: whether the agent may be used."""
        return self.is_active


_LOCKED = CompiledQuery(
    lambda: Agent.objects.select_for_update(no_key=True).filter(pk=Parameter("agent")).values_list("pk")
)


def lock_agent(agent: Agent) -> None:
    """Locks the agent's row until the transaction ends. Rows that refer to it can still be inserted."""
    _LOCKED(agent=agent.pk)


def marks_of(client_ids: Collection[str]) -> dict[str, str]:
    """client_id → Agent.mark, for the agents that have a mark."""
    found = Agent.objects.filter(client_id__in=client_ids).exclude(registration_source=Agent.RegistrationSource.MANUAL)
    return {agent.client_id: agent.mark for agent in found}


class AgentSecret(GeneratedSecret):
    """A client secret, for agents whose authentication method is one of client_secret_*."""

    OWNER: ClassVar[str] = "agent"

    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="secrets")

    class Meta:
        default_permissions = ()


class PublishedKeys(StoredKeySet):
    """The keys fetched from an agent's `client_jwks_uri` (clients/published_keys.py)."""

    agent = models.OneToOneField(Agent, primary_key=True, on_delete=models.CASCADE, related_name="published_keys")

    class Meta:
        default_permissions = ()


class AgentLink(models.Model):
    """The relation between one agent and one user.

    With `is_linked`, an administrator or the user's consent lets the agent ask the user.
    `stopped_at` is the user's stop, which overrides links, ownership and groups.
    """

    id = models.BigAutoField(primary_key=True)
    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="links")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="agent_links")
    is_linked = models.BooleanField(default=False)
    stopped_at = models.DateTimeField(null=True)

    class Meta:
        default_permissions = ("view",)
        constraints = [models.UniqueConstraint(fields=["agent", "user"], name="agent_link_unique")]

    def __str__(self) -> str:
        return f"{self.agent} and {self.user}"


class SpentAssertion(models.Model):
    """A spent `jti` of an assertion or a DPoP proof. The agent may not use it again before it expires."""

    id = models.BigAutoField(primary_key=True)
    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="+")
    jti_digest = models.BinaryField(max_length=32)
    expires_at = models.DateTimeField(db_index=True)

    class Meta:
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["agent", "jti_digest"], name="spent_assertion_unique")]

    def __str__(self) -> str:
        return f"spent until {self.expires_at:%Y-%m-%d %H:%M}"


class InitialAccessToken(models.Model):
    """An initial access token (RFC 7591 3): an administrator creates it for a number of uses and until a time."""

    id = models.BigAutoField(primary_key=True)
    label = models.CharField(max_length=100, help_text="The holder of the token.")
    token_digest = models.BinaryField(max_length=32, unique=True, editable=False)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", editable=False)
    created_at = models.DateTimeField(editable=False)
    expires_at = models.DateTimeField()
    uses_left = models.PositiveSmallIntegerField(
        default=1,
        validators=[MinValueValidator(1), MaxValueValidator(1000)],
        help_text="How many agents may register with the token.",
    )
    revoked_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        default_permissions = ("add", "change", "view")

    def __str__(self) -> str:
        return self.label


class Registration(models.Model):
    """How an agent registered itself, and its registration access token (RFC 7592)."""

    agent = models.OneToOneField(Agent, primary_key=True, on_delete=models.CASCADE, related_name="registration")
    token_digest = models.BinaryField(max_length=32, unique=True, null=True, editable=False)
    address = models.GenericIPAddressField()
    initial_access_token = models.ForeignKey(
        InitialAccessToken, null=True, on_delete=models.PROTECT, related_name="registrations"
    )
    created_at = models.DateTimeField()

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"registration of {self.agent}"
