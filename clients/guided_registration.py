"""The guided registration of an agent in the admin: its kind, then only the fields that this kind needs.

At the end the page shows what the builder of the agent needs: identifiers, an environment file, and a
program that runs as it is. The private key is made in the administrator's browser and never sent.
"""

import shlex
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar, cast

from django import forms
from django.conf import settings
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import transaction
from django.template.loader import render_to_string

from accounts.models import User
from accounts.staff_roles import GROUP_NAMES
from clients import lifecycle
from clients.agent_kinds import AgentKind
from clients.models import CIBA, CLIENT_CREDENTIALS, REFRESH_TOKEN, Agent
from clients.redirects import is_loopback
from foundation.key_inputs import keys_in
from operations.models import OFFLINE_ACCESS, OperationType, Scope

MAX_USERS = 100
# Where a problem of the model is shown, if not at a field of the same name.
_FIELD_OF = {"client_jwks": "public_key", "user": "owner"}
GRANTING_FIELDS = ("owner", "scopes", "operation_types", "users", "groups")


class _LabelledChoices(forms.ModelMultipleChoiceField):  # type: ignore[type-arg]  # not generic at run time
    widget = forms.CheckboxSelectMultiple

    def label_from_instance(self, obj: Any) -> str:
        if isinstance(obj, Scope):
            return f"{obj.name}: {obj.description} ({obj.risk}, {obj.resource.name})"
        version = obj.current
        return f"{obj.name}: {version.title} ({version.risk}, {obj.resource.name})"


class GuidedRegistrationForm(forms.Form):
    BROWSER_KEY, OWN_KEY, SECRET = "browser", "own", "secret"

    name = forms.CharField(max_length=60, help_text="Users read this name in every prompt.")
    credential = forms.ChoiceField(
        label="How it proves who it is",
        choices=[
            (BROWSER_KEY, "A key that this browser makes now. You save the private key; Countersign never sees it."),
            (OWN_KEY, "A key that it has already: paste the public key."),
            (SECRET, "A client secret: for software that cannot sign. A secret can be copied; a key is safer."),
        ],
        initial=BROWSER_KEY,
        widget=forms.RadioSelect,
    )
    public_key = forms.CharField(
        required=False,
        max_length=20_000,
        widget=forms.Textarea(attrs={"rows": 5, "class": "vLargeTextField json", "spellcheck": "false"}),
        help_text="As PEM, certificate, JWK or JWK Set. The choice above fills it if this browser makes the key.",
    )
    redirect_uris = forms.CharField(
        label="Redirect URIs",
        max_length=4000,
        widget=forms.TextInput(attrs={"class": "vTextField"}),
        help_text="Where the browser returns after the user's consent. Separate several by spaces.",
    )
    owner = forms.EmailField(label="Its user", help_text="The e-mail address of an active user.")
    scopes = _LabelledChoices(
        Scope.objects.filter(is_active=True, resource__is_active=True).select_related("resource"),
        required=False,
        help_text="Routine scopes work without an approval. The others need one each time.",
    )
    operation_types = _LabelledChoices(
        OperationType.objects.filter(is_active=True, resource__is_active=True, current__isnull=False).select_related(
            "resource", "current"
        ),
        required=False,
        label="Operations",
        help_text="What it may ask an approval for.",
    )
    users = forms.CharField(
        label="Users it may ask",
        required=False,
        widget=forms.Textarea(attrs={"rows": 3, "class": "vLargeTextField"}),
        help_text="E-mail addresses, one per line. You can add more later.",
    )
    groups = forms.ModelMultipleChoiceField(
        Group.objects.exclude(name__in=GROUP_NAMES).order_by("name"),
        required=False,
        label="Groups it may ask",
        widget=forms.CheckboxSelectMultiple,
        help_text="Every active user of these groups.",
    )

    ORDER: ClassVar[tuple[str, ...]] = (
        "name", "owner", "credential", "public_key", "redirect_uris", "scopes", "operation_types", "users", "groups",
    )  # fmt: skip

    def __init__(self, *args: Any, kind: AgentKind, may_grant: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.kind = kind
        for name in self._unneeded(may_grant):
            del self.fields[name]
        if kind.redirect_uris is not None:
            self.fields["redirect_uris"].initial = kind.redirect_uris
        self.order_fields(self.ORDER)

    def _unneeded(self, may_grant: bool) -> set[str]:
        unneeded = {"credential", "public_key", "users", "groups"} if self.kind.is_public else {"redirect_uris"}
        unneeded |= {"users", "groups"} if self.kind.has_owner else {"owner"}
        if not self.base_fields["groups"].queryset.exists():  # type: ignore[attr-defined]  # a field of rows
            unneeded.add("groups")
        return unneeded | (set() if may_grant else set(GRANTING_FIELDS))

    def clean_owner(self) -> User:
        return _active_users([self.cleaned_data["owner"]])[0]

    def clean_users(self) -> list[User]:
        return _active_users(self.cleaned_data["users"].split())

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        self.agent = self._agent(values)
        try:
            self.agent.full_clean()
        except ValidationError as error:
            for name, problems in error.message_dict.items():
                field = _FIELD_OF.get(name, name)
                if not self.has_error(field):  # this form's own words say it better
                    self.add_error(field if field in self.fields else None, problems)
        return values

    def _agent(self, values: dict[str, Any]) -> Agent:
        return Agent(
            name=values.get("name", "-"),  # a missing name is a problem already
            user=values.get("owner"),
            grant_types=list(self.kind.grant_types),
            token_endpoint_auth_method=self._auth_method(values),
            client_jwks=self._keys(values),
            redirect_uris=values.get("redirect_uris", ""),
            application_type=self.kind.application_type,
        )

    def _auth_method(self, values: dict[str, Any]) -> str:
        if self.kind.is_public:
            return Agent.AuthMethod.NONE
        is_secret = values.get("credential") == self.SECRET
        return Agent.AuthMethod.CLIENT_SECRET_BASIC if is_secret else Agent.AuthMethod.PRIVATE_KEY_JWT

    def _keys(self, values: dict[str, Any]) -> Any:
        if self.kind.is_public or values.get("credential") == self.SECRET:
            return None
        text = values.get("public_key", "")
        if not text:
            self.add_error("public_key", "Paste its public key, or choose another way above.")
            return None
        try:
            found = keys_in(text.strip())
        except ValidationError as error:
            self.add_error("public_key", error)
            return None
        return found if isinstance(found, dict) else {"keys": found}

    @transaction.atomic
    def register(self, by: User, now: datetime) -> str | None:
        """Registers the agent with what it may do. Returns its client secret if it has one."""
        values, agent = self.cleaned_data, self.agent
        agent.created_by = by
        lifecycle.save_agent(agent, [name for name in self.fields if values.get(name)], by, now)
        for name in ("scopes", "operation_types", "groups"):
            getattr(agent, name).set(values.get(name, ()))
        for user in values.get("users", ()):
            lifecycle.link(agent, user, by, now)
        return lifecycle.issue_secret(agent, by, now) if values.get("credential") == self.SECRET else None


def _active_users(addresses: list[str]) -> list[User]:
    """The active users with these e-mail addresses. Raises ValidationError, which names the others."""
    if len(addresses) > MAX_USERS:
        raise ValidationError(f"At most {MAX_USERS} users at once: choose a group instead.")
    wanted = [address.lower() for address in addresses]
    found = {user.email.lower(): user for user in User.objects.filter(email__in=wanted, is_active=True)}
    if missing := [address for address in wanted if address not in found]:
        raise ValidationError(f"No active user has this address: {', '.join(missing)}.")
    return [found[address] for address in dict.fromkeys(wanted)]


def missing_parts(agent: Agent) -> list[str]:
    """What the agent still lacks before it can work, a sentence each."""
    lacks_secret = agent.token_endpoint_auth_method in Agent.SECRET_METHODS and not _has_live_secret(agent)
    asks = agent.allows_grant_type(CIBA)
    lacks_users = asks and not agent.user_id and not agent.groups.exists() and not _linked(agent).exists()
    lacks_rights = not agent.scopes.exists() and not agent.operation_types.exists()
    sentences = {
        "It has no secret: issue one.": lacks_secret,
        "It may ask for nothing: choose scopes or operations.": lacks_rights,
        "It may ask nobody: choose users, a group or an owner.": lacks_users,
        "Each CIBA request needs the scope openid, which this agent may not ask for.": asks
        and "openid" not in agent.identity_scopes,
    }
    return [sentence for sentence, is_lacking in sentences.items() if is_lacking]


def _has_live_secret(agent: Agent) -> bool:
    return any(secret.revoked_at is None for secret in agent.secrets.all())


def _linked(agent: Agent) -> Any:
    return agent.links.filter(is_linked=True, stopped_at=None)


def handover(agent: Agent, secret: str | None) -> dict[str, Any]:
    """What the builder of the agent needs, for the template: an environment file, a program, and a curl line."""
    has_secret = agent.token_endpoint_auth_method in Agent.SECRET_METHODS
    redirect_uri = next(iter(agent.redirect_uris.split()), "")
    facts: dict[str, Any] = {
        "issuer": settings.ISSUER_URL,
        "agent": agent,
        "kind": "public" if agent.is_public else "secret" if has_secret else "key",
        "secret": secret,
    }
    environment = _environment(agent, facts["kind"], secret, redirect_uri)
    program = "code.py.txt" if agent.is_public else "agent.py.txt"
    can_run = is_loopback(redirect_uri) if agent.is_public else agent.allows_grant_type(CIBA)
    return facts | {
        "missing": missing_parts(agent),
        "environment": "".join(f"{name}={shlex.quote(value)}\n" for name, value in environment.items()),
        "program": render_to_string(f"admin/clients/agent/programs/{program}", facts) if can_run else None,
        "curl": _curl(environment) if has_secret and "COUNTERSIGN_ROUTINE_SCOPE" in environment else None,
    }


def _environment(agent: Agent, kind: str, secret: str | None, redirect_uri: str) -> dict[str, str]:
    """Names and values. Scopes are those of one resource, because a token is for one (RFC 8707)."""
    scopes = list(agent.scopes.filter(is_active=True).select_related("resource").order_by("resource_id", "name"))
    together = [scope for scope in scopes if scope.resource_id == scopes[0].resource_id]
    own = {
        "key": {"COUNTERSIGN_KEY_FILE": "agent-key.json"},
        "secret": {"COUNTERSIGN_CLIENT_SECRET": secret or ""},
        "public": {"COUNTERSIGN_REDIRECT_URI": redirect_uri},
    }[kind]
    routine = [scope.name for scope in together if scope.runs_unasked]
    if agent.is_public:
        offline = [OFFLINE_ACCESS] if agent.allows_grant_type(REFRESH_TOKEN) else []
        return _about_server(agent) | own | {"COUNTERSIGN_SCOPE": " ".join(["openid", *routine, *offline])}
    may_run = agent.allows_grant_type(CLIENT_CREDENTIALS) and routine
    return _about_server(agent) | own | {
        "COUNTERSIGN_SCOPE": " ".join(scope.name for scope in together),
        **({"COUNTERSIGN_ROUTINE_SCOPE": " ".join(routine)} if may_run else {}),
        "COUNTERSIGN_USER": _example_user(agent),
    }  # fmt: skip


def _about_server(agent: Agent) -> dict[str, str]:
    return {"COUNTERSIGN_ISSUER": settings.ISSUER_URL, "COUNTERSIGN_CLIENT_ID": str(agent.client_id)}


def _curl(environment: Mapping[str, str]) -> str:
    who = f"{environment['COUNTERSIGN_CLIENT_ID']}:{environment['COUNTERSIGN_CLIENT_SECRET'] or 'SECRET'}"
    scope = environment["COUNTERSIGN_ROUTINE_SCOPE"]
    line = ["curl", "-u", who, "-d", "grant_type=client_credentials", "--data-urlencode", f"scope={scope}"]
    return shlex.join([*line, f"{settings.ISSUER_URL}/oauth/token"]) + "\n"


def _example_user(agent: Agent) -> str:
    if agent.user_id:
        return str(cast(User, agent.user).email)
    link = _linked(agent).select_related("user").first()
    return str(link.user.email) if link else ""
