"""The audit trail in the administration: listed, filtered, opened; read only."""

import json
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db.models import OuterRef, Q, Subquery
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from oauth2_provider.models import get_application_model

from audit.events import all_kinds, find_kind
from audit.models import Event, SetAsideEvent
from foundation.admin import Careful, ReadOnly


class FamilyFilter(admin.SimpleListFilter):
    """The first word of the kinds. From the declared ones: a DISTINCT over the whole trail would read all of it."""

    title = "what it concerns"
    parameter_name = "family"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        families = dict.fromkeys(family_of(kind.name) for kind in all_kinds())
        return [(family, family.replace("_", " ")) for family in families]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.filter(kind__startswith=f"{self.value()}.") if self.value() else queryset


class KindFilter(admin.SimpleListFilter):
    """The kinds of the chosen family; there are too many for one list."""

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
class EventAdmin(ReadOnly):
    """Agent, person and request of a line are links to all lines of the same."""

    list_display = ("id", "at", "title", "agent", "person", "asking", "actor")
    list_filter = (FamilyFilter, KindFilter, "at")
    search_fields = ("client_id__exact",)
    search_help_text = (
        "A person's e-mail address, an agent's name, or the exact id of a person, an agent, a request or a grant."
    )
    date_hierarchy = "at"
    linked_columns = ("client_id", "user_id")
    show_full_result_count = False
    list_per_page = 50
    fields = (
        "id",
        "at",
        "title",
        "actor",
        "agent",
        "person",
        "asking",
        "grant_id",
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
        """With the names of today; the trail itself holds ids alone."""
        people = get_user_model().objects.filter(pk=OuterRef("user_id"))
        agents = _agents().filter(client_id=OuterRef("client_id"))
        named = {"email": Subquery(people.values("email")[:1]), "agent_name": Subquery(agents.values("name")[:1])}
        return super().get_queryset(request).annotate(**named)

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        found = Q(client_id=term)
        found |= Q(client_id__in=_agents().filter(name__iexact=term).values("client_id"))
        found |= Q(user_id__in=get_user_model().objects.filter(email=term.lower()).values("pk"))
        if (key := _uuid(term)) is not None:
            found |= Q(user_id=key) | Q(request_id=key) | Q(grant_id=key)
        return queryset.filter(found), False

    @admin.display(description="agent", ordering="client_id")
    def agent(self, event: Any) -> str:
        return _all_of("client_id", event.client_id, event.agent_name or event.client_id)

    @admin.display(description="person", ordering="user_id")
    def person(self, event: Any) -> str:
        return _all_of("user_id", event.user_id, event.email or str(event.user_id))

    @admin.display(description="request", ordering="request_id")
    def asking(self, event: Event) -> str:
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
    """A link to every event of this agent or person."""
    if not value:
        return "-"
    return format_html(
        '<a href="{}?{}" title="{}">{}</a>',
        reverse("admin:audit_event_changelist"), urlencode({column: value}), value, name,
    )  # fmt: skip


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


@admin.register(SetAsideEvent)
class SetAsideEventAdmin(Careful):
    """To be read, exported and then deleted by an administrator: only then is /readyz green again."""

    list_display = ("at", "kind", "problem")
    fields = ("at", "kind", "body", "problem")
    readonly_fields = fields

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False
