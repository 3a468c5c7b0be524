"""Agents in the administration: registration, changes, suspension, keys, secrets, and the users they may ask."""

from typing import Any, cast

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.widgets import FilteredSelectMultiple
from django.core.exceptions import NON_FIELD_ERRORS, PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path
from django.utils import timezone
from oauth2_provider import admin as _toolkit  # noqa: F401 - registers its page for Agent

from accounts.models import User
from clients import ending_certificates, lifecycle, registration
from clients.agent_kinds import KINDS
from clients.certificates import SUBJECT_KINDS
from clients.guided_registration import GuidedRegistrationForm
from clients.handover import handover, missing_parts
from clients.models import CIBA, Agent, InitialAccessToken, PublishedKeys
from foundation.admin import NoDeletion, show_once
from foundation.key_inputs import KeysField
from operations.models import IDENTITY_SCOPES


class AgentForm(forms.ModelForm[Agent]):
    grant_types = forms.MultipleChoiceField(choices=Agent.GrantType.choices, widget=forms.CheckboxSelectMultiple)
    identity_scopes = forms.MultipleChoiceField(
        choices=[(name, name) for name in IDENTITY_SCOPES],
        required=False,
        widget=forms.CheckboxSelectMultiple,
    )
    client_jwks = KeysField(
        required=False, label="Public keys", help_text="The agent signs with ES256, PS256, EdDSA or RS256."
    )
    linked_users = forms.ModelMultipleChoiceField(
        User.objects.all(),
        required=False,
        widget=FilteredSelectMultiple("users", is_stacked=False),
        help_text="The agent may ask these users, its owner and the users of its groups.",
    )

    class Meta:
        model = Agent
        labels = {
            "user": "Owner",
            "id_token_signed_response_alg": "Algorithm of ID tokens",
            "redirect_uris": "Redirect URIs",
            "post_logout_redirect_uris": "Redirect URIs after sign-out",
        }
        # django-oauth-toolkit's texts name a field's type or its source code.
        help_texts = {
            "registration_source": "How the agent was registered.",
            "redirect_uris": "Where a browser may return after /authorize. Separate the URIs by spaces.",
            "post_logout_redirect_uris": "Where a browser may go after /oidc/logout. Separate the URIs by spaces.",
        }
        fields = (
            "name", "user", "profile", "grant_types", "token_endpoint_auth_method", "client_jwks", "client_jwks_uri",
            "assertion_audience", "dpop_bound_access_tokens", "tls_client_certificate_bound_access_tokens",
            "tls_client_auth_subject_dn", "tls_client_auth_san_dns", "tls_client_auth_san_uri",
            "tls_client_auth_san_ip", "tls_client_auth_san_email", "id_token_signed_response_alg",
            "backchannel_token_delivery_mode", "backchannel_client_notification_endpoint",
            "backchannel_authentication_request_signing_alg", "backchannel_user_code_parameter",
            "redirect_uris", "post_logout_redirect_uris",
            "pkce_exempt", "identity_scopes", "scopes", "operation_types", "groups", "max_lease_lifetime", "max_leases",
        )  # fmt: skip

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            self.initial["linked_users"] = _linked_users(self.instance)

    def add_error(self, field: str | None, error: Any) -> None:
        """A problem with a field that this form does not have is shown above the form."""
        if field is None and hasattr(error, "error_dict"):
            own = {name: found for name, found in error.error_dict.items() if name in self.fields}
            rest = [one for name, found in error.error_dict.items() if name not in own for one in found]
            error = ValidationError({**own, NON_FIELD_ERRORS: rest} if rest else own)
        super().add_error(field, error)

    def clean(self) -> dict[str, Any]:
        """Each CIBA request has the scope openid (CIBA Core 7.1), so an agent that uses CIBA may ask for it."""
        values = super().clean() or {}
        chosen = values.get("identity_scopes")
        self.needs_openid = chosen is not None and CIBA in values.get("grant_types", ()) and "openid" not in chosen
        if self.needs_openid:
            values["identity_scopes"] = ["openid", *(chosen or ())]
            self.changed_data.append("identity_scopes")
        return values


def _linked_users(agent: Agent) -> Any:
    return User.objects.filter(agent_links__agent=agent, agent_links__is_linked=True)


# The fields that a client's metadata document defines. They are read-only, because the next fetch
# would overwrite a change.
FROM_DOCUMENT = (
    "name", "grant_types", "token_endpoint_auth_method", "client_jwks", "client_jwks_uri", "redirect_uris",
    "post_logout_redirect_uris", "id_token_signed_response_alg", "backchannel_token_delivery_mode",
    "backchannel_client_notification_endpoint", "backchannel_authentication_request_signing_alg",
    "backchannel_user_code_parameter",
)  # fmt: skip

# An administrator may change the fields that decide who controls the agent (clients/control.py).
CONTROL = frozenset(
    {
        "token_endpoint_auth_method", "client_jwks", "client_jwks_uri", "redirect_uris",
        "backchannel_token_delivery_mode", "backchannel_client_notification_endpoint",
        *(f"tls_client_auth_{kind}" for kind in SUBJECT_KINDS),
    }
)  # fmt: skip
# A developer does not change what their agent may ask for, whom, and how far.
GRANTED = (
    "user", "identity_scopes", "scopes", "operation_types", "groups", "linked_users", "pkce_exempt",
    "max_lease_lifetime", "max_leases",
)  # fmt: skip
# Nor what an administrator looked at before they decided that: users know the agent by its name.
SETTLED = ("name", "profile", "grant_types", "backchannel_user_code_parameter")
LEFT_TO_ADMINISTRATORS = (
    "The agent may not ask for anything yet. An administrator chooses the scopes, the operation types and the users."
)
CONTROL_UNCHANGED = (
    "The new keys or addresses work from now on. Existing grants continue. If somebody stole the old key, stop the "
    "agent first: that ends its requests, grants and leases."
)


class ProblemFilter(admin.SimpleListFilter):
    """Agents whose registration does not meet their profile, by the last check."""

    title = "problem with the registration"
    parameter_name = "problem"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Yes"), ("no", "No")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        match self.value():
            case "yes":
                return queryset.exclude(registration_problem="")
            case "no":
                return queryset.filter(registration_problem="")
            case _:
                return queryset


class CertificateFilter(admin.SimpleListFilter):
    """Agents whose certificate ends within 30 days (clients/ending_certificates.py)."""

    title = "certificate"
    parameter_name = "certificate"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("ends", "Ends within 30 days")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        if self.value() != "ends":
            return queryset
        return queryset.filter(pk__in=ending_certificates.find_agents(timezone.now() + ending_certificates.ENDS_SOON))


admin.site.unregister(Agent)  # replaces django-oauth-toolkit's registration, which the import above made


@admin.register(Agent)
class AgentAdmin(NoDeletion):
    form = AgentForm
    purpose = (
        "An agent is a program that asks for access or for approvals: an OAuth client. Register it, let it ask for "
        "scopes and operation types, and choose the users whom it may ask."
    )
    view_on_site = False
    list_display = (
        "marked_name", "client_id", "status", "registration_check", "registration_source", "token_endpoint_auth_method",
        "user", "created",
    )  # fmt: skip
    list_filter = (
        "status", ProblemFilter, CertificateFilter, "registration_source",
        "token_endpoint_auth_method",
    )  # fmt: skip
    search_fields = ("name", "client_id", "user__email")
    autocomplete_fields = ("user",)
    filter_horizontal = ("scopes", "operation_types", "groups")
    readonly_fields = (
        "client_id", "status", "ready", "registration_check", "registration_source", "created_by",
        "self_description_text", "fetched_keys",
    )  # fmt: skip
    fields = (
        "client_id", "status", "ready", "registration_check", "registration_source", "created_by",
        "self_description_text",
        *AgentForm.Meta.fields, "fetched_keys", "linked_users",
    )  # fmt: skip
    actions = ("suspend", "resume", "issue_secret", "revoke_secrets")

    def get_urls(self) -> list[Any]:
        register = self.admin_site.admin_view(self.register_view)
        hand_over = self.admin_site.admin_view(self.handover_view)
        return [
            path("register/", register, name="clients_agent_register"),
            path("<int:agent_id>/handover/", hand_over, name="clients_agent_handover"),
            *super().get_urls(),
        ]

    def register_view(self, request: HttpRequest) -> HttpResponse:
        """The guided registration: first the kind, then its fields, then what the builder needs."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        kind, may_grant = KINDS.get(request.GET.get("kind", "")), request.user.has_perm("clients.add_agent")
        context = self.admin_site.each_context(request) | {
            "title": "Register an agent", "kinds": KINDS.values(), "kind": kind, "may_grant": may_grant,
        }  # fmt: skip
        if kind is None:
            return render(request, "admin/clients/agent/register.html", context)
        form = GuidedRegistrationForm(request.POST or None, kind=kind, may_grant=may_grant)
        if form.is_valid():
            if secret := form.register(_administrator(request), timezone.now()):
                return self._hand_over(request, form.agent, secret)  # at once, because it is shown only now
            return redirect("admin:clients_agent_handover", form.agent.pk)
        return render(request, "admin/clients/agent/register.html", context | {"form": form})

    def handover_view(self, request: HttpRequest, agent_id: int) -> HttpResponse:
        """What the builder needs, again. A secret is not shown again."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        agent = self.get_object(request, str(agent_id))  # a developer's list has their own agents only
        if agent is None:
            raise Http404
        return self._hand_over(request, agent, None)

    def _hand_over(self, request: HttpRequest, agent: Agent, secret: str | None) -> HttpResponse:
        context = self.admin_site.each_context(request) | {"title": f"For the builder of {agent}"}
        response = render(request, "admin/clients/agent/handover.html", context | handover(agent, secret))
        response["Cache-Control"] = "no-store"
        return response

    @admin.display(description="ready")
    def ready(self, agent: Agent) -> str:
        """What it lacks before it can work."""
        return " ".join(missing_parts(agent)) or "Yes"

    def get_readonly_fields(self, request: HttpRequest, obj: Agent | None = None) -> Any:
        has_document = obj is not None and obj.registration_source == Agent.RegistrationSource.CIMD
        names = (*super().get_readonly_fields(request, obj), *(FROM_DOCUMENT if has_document else ()))
        if self._manages(request, "add" if obj is None else "change"):
            return names
        return (*names, *GRANTED, *(() if obj is None else SETTLED))

    def _manages(self, request: HttpRequest, action: str) -> bool:
        """Whether this member of staff has the permission for every agent, and not only for their own."""
        return request.user.has_perm(f"clients.{action}_agent")

    def get_queryset(self, request: HttpRequest) -> Any:
        """A developer sees the agents that they added."""
        agents = super().get_queryset(request).select_related("user", "created_by")
        sees_all = self._manages(request, "view") or self._manages(request, "change")
        return agents if sees_all else agents.filter(created_by=request.user.pk)

    def _is_own(self, request: HttpRequest, obj: Agent | None) -> bool:
        is_own = obj is None or obj.created_by_id == request.user.pk
        return is_own and request.user.has_perm("clients.change_own_agent")

    def has_view_permission(self, request: HttpRequest, obj: Agent | None = None) -> bool:
        return super().has_view_permission(request, obj) or self._is_own(request, obj)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return super().has_add_permission(request) or self._is_own(request, None)

    def has_change_permission(self, request: HttpRequest, obj: Agent | None = None) -> bool:
        return super().has_change_permission(request, obj) or self._is_own(request, obj)

    def has_resume_permission(self, request: HttpRequest) -> bool:
        """A developer does not resume an agent that security suspended."""
        return self._manages(request, "change")

    def has_suspend_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("clients.suspend_agent")

    @admin.display(description="Linked users")
    def linked_users(self, agent: Agent) -> str:
        """For those who do not choose them."""
        return ", ".join(_linked_users(agent).values_list("email", flat=True)) or "-" if agent.pk else "-"

    @admin.display(description="registration")
    def registration_check(self, agent: Agent) -> str:
        """Whether the agent meets its profile, and what to do if it does not."""
        if not agent.current_problem:
            return f"Meets the profile {agent.profile}" if agent.pk else "-"
        return f"The agent cannot ask for anything: {agent.current_problem}. Change its registration or its profile."

    @admin.display(description="Fetched keys")
    def fetched_keys(self, agent: Agent) -> str:
        """The last fetched keys, and their problem if there is one."""
        stored = PublishedKeys.objects.filter(agent_id=agent.pk, uri=agent.client_jwks_uri).first()
        if stored is None:
            return "Not fetched yet" if agent.client_jwks_uri else "-"
        kids = [key.get("kid") or "(no kid)" for key in (stored.jwks or {"keys": []})["keys"]]
        lines = [f"{', '.join(kids)}: fetched {stored.fetched_at:%Y-%m-%d %H:%M:%S} UTC" if kids else "None yet"]
        return ". ".join(lines + ([f"Last attempt failed: {stored.problem}"] if stored.problem else []))

    def save_model(self, request: HttpRequest, obj: Agent, form: Any, change: bool) -> None:
        if not change:
            obj.created_by = _administrator(request)
        lifecycle.save_agent(obj, form.changed_data, _administrator(request), timezone.now())
        if form.needs_openid:
            self.message_user(request, "The scope openid was added: each CIBA request needs it.")
        if change and CONTROL.intersection(form.changed_data):
            self.message_user(request, CONTROL_UNCHANGED, messages.WARNING)
        if not change and not self._manages(request, "add"):
            self.message_user(request, LEFT_TO_ADMINISTRATORS)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        if "linked_users" not in form.cleaned_data:
            return
        by, now, agent = _administrator(request), timezone.now(), form.instance
        chosen = set(form.cleaned_data["linked_users"])
        linked = set(User.objects.filter(agent_links__agent=agent, agent_links__is_linked=True))
        for user in chosen - linked:
            lifecycle.link(agent, user, by, now)
        for user in linked - chosen:
            lifecycle.unlink(agent, user, by, now)

    @admin.display(description="name", ordering="name")
    def marked_name(self, obj: Agent) -> str:
        return f"{obj.name} ({obj.mark})" if obj.mark else str(obj.name)

    @admin.display(description="self-description")
    def self_description_text(self, obj: Agent) -> str:
        """The self-description as text: no value from a client becomes a link or an image on this page."""
        lines = [f"{name}: {value}" for name, value in sorted(obj.self_description.items())]
        return "\n".join(lines) or "-"

    @admin.action(description="Suspend: Countersign refuses all its requests", permissions=["suspend"])
    def suspend(self, request: HttpRequest, queryset: Any) -> None:
        count = sum(lifecycle.suspend(agent, _administrator(request), timezone.now()) for agent in queryset)
        self.message_user(request, f"{count} agents suspended.")

    @admin.action(description="Resume", permissions=["resume"])
    def resume(self, request: HttpRequest, queryset: Any) -> None:
        count = sum(lifecycle.resume(agent, _administrator(request), timezone.now()) for agent in queryset)
        self.message_user(request, f"{count} agents resumed.")

    @admin.action(description="New client secret (shown once)", permissions=["change"])
    def issue_secret(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        chosen = list(queryset[:2])
        if len(chosen) != 1 or chosen[0].token_endpoint_auth_method not in Agent.SECRET_METHODS:
            self.message_user(request, "Choose one agent that authenticates with a static secret.", messages.ERROR)
            return None
        secret = lifecycle.issue_secret(chosen[0], _administrator(request), timezone.now())
        holder = ("Client ID", str(chosen[0].client_id))
        return show_once(self, request, owner=str(chosen[0]), holder=holder, secret=secret)

    @admin.action(description="Revoke all client secrets", permissions=["change", "suspend"])
    def revoke_secrets(self, request: HttpRequest, queryset: Any) -> None:
        ended = sum(lifecycle.revoke_secrets(agent, _administrator(request), timezone.now()) for agent in queryset)
        self.message_user(request, f"{ended} secrets revoked.")


class InitialAccessTokenForm(forms.ModelForm[InitialAccessToken]):
    class Meta:
        model = InitialAccessToken
        fields = ("label", "uses_left", "expires_at")
        labels = {"uses_left": "Uses", "expires_at": "Until"}

    def clean_expires_at(self) -> Any:
        expires_at = self.cleaned_data["expires_at"]
        if expires_at <= timezone.now():
            raise forms.ValidationError("This time has passed.")
        return expires_at


@admin.register(InitialAccessToken)
class InitialAccessTokenAdmin(NoDeletion):
    """Initial access tokens, with which their holders register agents: created, shown once, never changed, revoked."""

    form = InitialAccessTokenForm
    purpose = (
        "An initial access token lets its holder register agents at /oidc/register, a number of times. You need one "
        "only if agents register themselves."
    )
    list_display = ("label", "uses_left", "created_at", "expires_at", "revoked_at", "created_by")
    actions = ("revoke",)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return obj is None and super().has_change_permission(request, obj)

    def save_model(self, request: HttpRequest, obj: InitialAccessToken, form: Any, change: bool) -> None:
        now = timezone.now()
        obj.handle = registration.make_initial_token(obj, _administrator(request), now)  # type: ignore[attr-defined]

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: str | None = None) -> HttpResponse:
        return show_once(self, request, owner=str(obj), holder=("For", obj.label), secret=obj.handle)

    @admin.action(description="Revoke", permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: Any) -> None:
        by, now = _administrator(request), timezone.now()
        count = sum(registration.revoke_initial_token(token, by, now) for token in queryset)
        self.message_user(request, f"{count} tokens revoked.")


def _administrator(request: HttpRequest) -> User:
    return cast(User, request.user)
