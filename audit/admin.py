"""The audit trail in the administration: listed, filtered, opened; read only."""

import json
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from audit.events import all_kinds, find_kind
from audit.models import Event, SetAsideEvent
from foundation.admin import ReadOnly


class KindFilter(admin.SimpleListFilter):
    """From the declared kinds: a DISTINCT over the whole trail would read all of it."""

    title = "kind"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(kind.name, kind.title) for kind in all_kinds()]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.filter(kind=self.value()) if self.value() else queryset


@admin.register(Event)
class EventAdmin(ReadOnly):
    list_display = ("id", "at", "title", "client_id", "person", "asking", "actor")
    list_filter = (KindFilter, "at")
    search_fields = ("client_id__exact", "user_id__exact", "request_id__exact", "grant_id__exact")
    search_help_text = "The exact id of an agent (client_id), a person, a request or a grant."
    date_hierarchy = "at"
    show_full_result_count = False
    list_per_page = 50
    fields = (
        "id",
        "at",
        "title",
        "actor",
        "client_id",
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

    @admin.display(description="person", ordering="user_id")
    def person(self, event: Event) -> str:
        return _link("accounts_user_change", event.user_id)

    @admin.display(description="request", ordering="request_id")
    def asking(self, event: Event) -> str:
        return _link("ciba_backchannelrequest_change", event.request_id)

    @admin.display(description="facts")
    def facts(self, event: Event) -> str:
        return format_html("<pre>{}</pre>", json.dumps(json.loads(event.body)["facts"], indent=2, ensure_ascii=False))

    @admin.display(description="salt")
    def salt_hex(self, event: Event) -> str:
        return bytes(event.salt).hex()


def _link(view: str, key: Any) -> str:
    if key is None:
        return "-"
    return format_html('<a href="{}">{}</a>', reverse(f"admin:{view}", args=[key]), str(key)[:8])


@admin.register(SetAsideEvent)
class SetAsideEventAdmin(admin.ModelAdmin[SetAsideEvent]):
    """To be read, exported and then deleted by an administrator: only then is /readyz green again."""

    list_display = ("at", "kind", "problem")
    fields = ("at", "kind", "body", "problem")
    readonly_fields = fields

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False
