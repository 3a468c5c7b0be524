"""Backchannel requests in the administration: one page per request, from its arrival to its last
use.
"""

import json
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.text import Truncator

from audit.events import find_kind
from audit.exports import ExportingList
from audit.models import Event
from audit.record import About
from ciba import lifecycle
from ciba.models import HINT_ALGORITHMS, BackchannelRequest, HintIssuer
from ciba.prompt_content import headline
from ciba.states import REQUEST_STATES
from foundation.admin import NoDeletion, ReadOnly
from foundation.key_inputs import KeysField
from foundation.list_filters import AgentFilter, TimeFilter, UserFilter


class WaitingFilter(admin.SimpleListFilter):
    """Requests that a user can still answer."""

    title = "waits for a user"
    parameter_name = "waits"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Yes")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.waiting(timezone.now()) if self.value() == "yes" else queryset


@admin.register(BackchannelRequest)
class BackchannelRequestAdmin(ExportingList, ReadOnly):
    purpose = "A request is one question of an agent to a user. Requests appear when agents ask at /bc-authorize."
    list_display = ("created_at", "summary_of_request", "agent", "user", "state", "expires_at")
    list_filter = (TimeFilter, AgentFilter, UserFilter, "state", WaitingFilter)
    linked_columns = ("agent", "user", "created_at")
    search_help_text = (
        "A user's e-mail address, an agent's name, or the beginning of either; or the exact id of an agent, a user, a "
        "request or a grant."
    )
    id_columns = ("id", "grant_id")
    list_select_related = ("agent", "user")
    ordering = ("-created_at", "-id")
    exported_columns: ClassVar[dict[str, str]] = {
        "id": "id", "created_at": "created_at", "state": "state", "client_id": "agent__client_id",
        "agent": "agent__name", "user_id": "user_id", "email": "user__email", "resource": "resource__identifier",
        "scopes": "scopes", "authorization_details": "authorization_details", "operation_digest": "operation_digest",
        "binding_message": "binding_message", "assurance": "assurance", "uses": "uses", "expires_at": "expires_at",
        "decided_at": "decided_at", "redeemed_at": "redeemed_at", "grant_id": "grant_id",
    }  # fmt: skip
    change_form_template = "admin/ciba/backchannelrequest/change_form.html"
    fields = (
        "id", "state", "agent", "user", "delivery_mode", "resource", "summary", "binding_message", "scopes",
        "operation", "operation_digest", "assurance", "uses", "created_at", "expires_at", "auth_req_id_expires_at",
        "decided_at", "redeemed_at", "grant",
    )  # fmt: skip
    readonly_fields = fields
    actions = ("cancel", *ExportingList.actions)

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("ciba.cancel_backchannelrequest")

    @admin.action(
        description="Cancel: withdraw the prompt, and an approval that is not yet used", permissions=["cancel"]
    )
    def cancel(self, request: HttpRequest, queryset: Any) -> None:
        ids = list(queryset.filter(state__in=REQUEST_STATES.open_states).values_list("pk", flat=True))
        count = lifecycle.withdraw(ids, f"user:{request.user.pk}", timezone.now())
        self.message_user(request, f"{count} requests cancelled.")

    @admin.display(description="summary")
    def summary_of_request(self, request: BackchannelRequest) -> str:
        return Truncator(headline(request.content)).chars(120)

    @admin.display(description="summary")
    def summary(self, request: BackchannelRequest) -> str:
        return headline(request.content)

    @admin.display(description="operation")
    def operation(self, request: BackchannelRequest) -> str:
        return format_html("<pre>{}</pre>", json.dumps(request.authorization_details, indent=2, ensure_ascii=False))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Shows the request's fields, then all its events."""
        found = self.get_object(request, unquote(object_id))
        context = {**(extra_context or {}), "trail": trail(found) if found else []}
        return super().change_view(request, object_id, form_url, context)


def trail(found: BackchannelRequest) -> list[dict[str, Any]]:
    """Every event of a request and of its grant, oldest first."""
    events = Event.objects.filter(request_id=found.id).order_by("id")
    if found.grant_id:
        events = (events | Event.objects.filter(grant_id=found.grant_id)).order_by("id")
    return [_row(event) for event in events]


def _row(event: Event) -> dict[str, Any]:
    kind = find_kind(event.kind)
    facts = json.loads(event.body)["facts"]
    texts = {
        name: item if isinstance(item, str) else json.dumps(item, ensure_ascii=False) for name, item in facts.items()
    }
    return {"event": event, "title": kind.title if kind else event.kind, "facts": texts}


class HintIssuerForm(forms.ModelForm[HintIssuer]):
    algorithms = forms.MultipleChoiceField(
        choices=[(name, name) for name in HINT_ALGORITHMS], widget=forms.CheckboxSelectMultiple
    )

    jwks = KeysField(required=False, label="Public keys")

    class Meta:
        model = HintIssuer
        fields = ("issuer", "algorithms", "jwks", "jwks_uri", "is_active")


@admin.register(HintIssuer)
class HintIssuerAdmin(NoDeletion):
    form = HintIssuerForm
    purpose = (
        "A hint issuer is a server whose signed login_hint_token names a user, instead of an e-mail address. You need "
        "one only if your agents send such tokens."
    )
    list_display = ("issuer", "algorithms", "is_active")

    def save_model(self, request: HttpRequest, obj: HintIssuer, form: Any, change: bool) -> None:
        by = About(f"user:{request.user.pk}")
        lifecycle.save_hint_issuer(obj, form.changed_data, by, timezone.now())
