"""The guided registration of an agent in the admin: its kind, then only the fields that this kind needs.

The private key may be made in the administrator's browser. Only the public key is sent. handover.py has
what the builder of the agent gets at the end.
"""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import transaction

from accounts.models import User
from accounts.staff_roles import GROUP_NAMES
from clients import lifecycle
from clients.agent_kinds import AgentKind
from clients.models import Agent
from foundation.key_inputs import keys_in
from operations.models import OperationType, Scope

MAX_USERS = 100
# Field → the agent's field that it decides, if that has another name.
_AGENT_FIELDS = {
    "credential": "token_endpoint_auth_method", "public_key": "client_jwks", "owner": "user", "users": "linked_users",
}  # fmt: skip
_FORM_FIELDS = {agent_field: field for field, agent_field in _AGENT_FIELDS.items()}
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
    owner = forms.EmailField(label="Its user", help_text="The e-mail address of an active user.")
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

    def __init__(self, *args: Any, kind: AgentKind, may_grant: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.kind = kind
        for name in self._unneeded(may_grant):
            del self.fields[name]
        if kind.redirect_uris is not None:
            self.fields["redirect_uris"].initial = kind.redirect_uris

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
                field = _FORM_FIELDS.get(name, name)
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
        given = [_AGENT_FIELDS.get(name, name) for name in self.fields if values.get(name)]
        lifecycle.save_agent(agent, [*given, "grant_types"], by, now)
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
