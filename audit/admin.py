"""The audit log in the administration: list, filters and details; read-only."""

import json
from typing import Any, ClassVar
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db.models import OuterRef, Q, Subquery
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from oauth2_provider.models import get_application_model

from audit.events import all_kinds, find_kind
from audit.exports import ExportingList
from audit.models import Event, SetAsideEvent
from foundation.admin import Careful, ReadOnly
from foundation.list_filters import AgentFilter, TimeFilter, UserFilter


class FamilyFilter(admin.SimpleListFilter):
    """Filters by the first word of the kind. Offers the declared kinds, because DISTINCT would read the whole log."""

    title = "area"
    parameter_name = "family"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        families = dict.fromkeys(family_of(kind.name) for kind in all_kinds())
        return [(family, family.replace("_", " ")) for family in families]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """Compares with each kind, because an index finds equal texts and no beginnings of texts."""
        family = [kind.name for kind in all_kinds() if family_of(kind.name) == self.value()]
        return queryset.filter(kind__in=family) if self.value() else queryset


class KindFilter(admin.SimpleListFilter):
    """Filters by the kinds of the selected family, because one list of all kinds would be too long."""

    title = "kind"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        family = request.GET.get("family") or family_of(self.used_parameters.get("kind", ""))
        return [(kind.name, kind.title) for kind in all_kinds() if family_of(kind.name) == family]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.filter(kind=self.value()) if self.value() else queryset


def family_of(kind: str) -> str:
    return kind.partition(".")[0]


@admin.register(Event)
class EventAdmin(ExportingList, ReadOnly):
    """Agent, user and request are links to all events of the same agent, user or request."""

    purpose = "An event is one entry of the audit log. Events appear with everything that happens."
    list_display = ("id", "at", "title", "agent", "user", "viewer", "actor")
    list_filter = (TimeFilter, AgentFilter, UserFilter, FamilyFilter, KindFilter)
    search_help_text = (
        "A user's e-mail address, an agent's name, or the beginning of either; or the exact id of a user, an agent, a "
        "request or a grant."
    )
    linked_columns = ("client_id", "user_id", "at")
    time_column = "at"
    agent_column, agent_key = "client_id", "client_id"
    id_columns = ("user_id", "request_id", "grant_id")
    exported_columns: ClassVar[dict[str, str]] = {
        "id": "id", "at": "at", "kind": "kind", "actor": "actor", "client_id": "client_id", "agent": "agent_name",
        "user_id": "user_id", "email": "email", "request_id": "request_id", "grant_id": "grant_id",
        "traceparent": "traceparent", "recorded_at": "recorded_at", "body": "body",
    }  # fmt: skip
    fields = (
        "id",
        "at",
        "title",
        "actor",
        "agent",
        "user",
        "viewer",
        "grant_id",
        "traceparent",
        "recorded_at",
        "transaction_id",
        "recorded_by",
        "facts",
        "body",
        "salt_hex",
    )
    readonly_fields = fields

    @admin.display(description="what happened")
    def title(self, event: Event) -> str:
        kind = find_kind(event.kind)
        return kind.title if kind else event.kind

    def get_queryset(self, request: HttpRequest) -> Any:
        """Adds the current names of agents and users, because the log stores only ids."""
        users = get_user_model().objects.filter(pk=OuterRef("user_id"))
        agents = _agents().filter(client_id=OuterRef("client_id"))
        named = {"email": Subquery(users.values("email")[:1]), "agent_name": Subquery(agents.values("name")[:1])}
        return super().get_queryset(request).annotate(**named)

    def get_ordering(self, request: HttpRequest) -> Any:
        """By id, which the indexes of agents, users and kinds end with; by time where a time limits the list."""
        is_limited = any(name in TimeFilter.names or name.startswith("at__") for name in request.GET)
        return ("-at", "-id") if is_limited else ("-id",)

    def find(self, request: HttpRequest, term: str) -> list[Q]:
        """An agent that was deleted is found by its client_id."""
        return [*super().find(request, term), Q(client_id=term)]

    @admin.display(description="agent", ordering="client_id")
    def agent(self, event: Any) -> str:
        return _all_of("client_id", event.client_id, event.agent_name or event.client_id)

    @admin.display(description="user", ordering="user_id")
    def user(self, event: Any) -> str:
        return _all_of("user_id", event.user_id, event.email or str(event.user_id))

    @admin.display(description="request", ordering="request_id")
    def viewer(self, event: Event) -> str:
        if event.request_id is None:
            return "-"
        page = reverse("admin:ciba_backchannelrequest_change", args=[event.request_id])
        return format_html('<a href="{}">{}</a>', page, str(event.request_id)[:8])

    @admin.display(description="facts")
    def facts(self, event: Event) -> str:
        return format_html("<pre>{}</pre>", json.dumps(json.loads(event.body)["facts"], indent=2, ensure_ascii=False))

    @admin.display(description="salt")
    def salt_hex(self, event: Event) -> str:
        return bytes(event.salt).hex()


def _agents() -> Any:
    return get_application_model().objects  # type: ignore[no-untyped-call]


def _all_of(column: str, value: Any, name: str) -> str:
    """A link to all events of this agent or user."""
    if not value:
        return "-"
    return format_html(
        '<a href="{}?{}" title="{}">{}</a>',
        reverse("admin:audit_event_changelist"), urlencode({column: value}), value, name,
    )  # fmt: skip


@admin.register(SetAsideEvent)
class SetAsideEventAdmin(Careful):
    """Set-aside events. An administrator reads, exports and then deletes them; after that /readyz is green again."""

    purpose = "Events that could not be written when something was revoked. An empty list is what you want."
    list_display = ("at", "kind", "problem")
    fields = ("at", "kind", "body", "problem")
    readonly_fields = fields

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False
