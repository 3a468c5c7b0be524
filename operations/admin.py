"""Resources, scopes and operation types in the administration."""

import json
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import path
from django.utils import timezone
from django.utils.html import format_html

from audit.record import About
from foundation.admin import NoDeletion, show_once
from operations import lifecycle, schemas, type_pages
from operations.models import OperationType, Resource, Scope
from operations.preview_form import WithPreview
from operations.type_form import FIELDS_HELP, OperationTypeForm


def _about(request: HttpRequest) -> About:
    return About(f"user:{request.user.pk}")


@admin.register(Resource)
class ResourceAdmin(NoDeletion):
    purpose = (
        "A resource is an API that accepts the tokens of Countersign. Its scopes and operation types are what agents "
        "may ask for. Begin here."
    )
    list_display = ("name", "identifier", "is_active")
    search_fields = ("name", "identifier")
    fields = ("name", "identifier", "is_active", "id")
    readonly_fields = ("id",)
    actions = ("issue_secret", "revoke_secrets")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        # tokens carry the identifier: another identifier means another resource
        return ("id", "identifier") if obj else ("id",)

    def save_model(self, request: HttpRequest, obj: Resource, form: Any, change: bool) -> None:
        lifecycle.save_resource(obj, form.changed_data, _about(request), timezone.now())

    @admin.action(description="New credential (shown once)", permissions=["change"])
    def issue_secret(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        chosen = list(queryset[:2])
        if len(chosen) != 1:
            self.message_user(request, "Choose one resource.", messages.ERROR)
            return None
        secret = lifecycle.issue_resource_secret(chosen[0], _about(request), timezone.now())
        holder = ("User name", str(chosen[0].id))
        return show_once(self, request, owner=str(chosen[0]), holder=holder, secret=secret)

    @admin.action(description="Revoke all credentials", permissions=["change"])
    def revoke_secrets(self, request: HttpRequest, queryset: Any) -> None:
        ended = sum(lifecycle.revoke_resource_secrets(one, _about(request), timezone.now()) for one in queryset)
        self.message_user(request, f"{ended} credentials revoked.")


@admin.register(Scope)
class ScopeAdmin(NoDeletion):
    purpose = (
        "A scope is access to a resource, for example calendar.read. Agents ask for it by name. Add a resource first."
    )
    list_display = ("name", "resource", "risk", "description", "is_active")
    list_filter = ("resource", "risk", "is_active")
    search_fields = ("name", "description")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return ("name", "resource") if obj else ()

    def save_model(self, request: HttpRequest, obj: Scope, form: Any, change: bool) -> None:
        lifecycle.save_scope(obj, form.changed_data, _about(request), timezone.now())


@admin.register(OperationType)
class OperationTypeAdmin(WithPreview, NoDeletion):
    form = OperationTypeForm
    purpose = (
        "An operation type is one thing that an agent may ask a user to approve, for example a refund. It says which "
        "fields the agent sends and what the user reads. You can import it from an OpenAPI document or an MCP tool."
    )
    list_display = ("name", "problem", "resource", "risk", "assurance", "version", "is_active")
    list_filter = ("resource", "is_active", "current__risk")
    list_select_related = ("resource", "current")
    search_fields = ("name", "current__title")
    fieldsets = (
        (None, {"fields": ("resource", "name", "is_active", "version", "problem")}),
        ("What the agent sends", {"fields": ("schema",), "description": FIELDS_HELP}),
        ("What the user reads", {"fields": ("title", "summary")}),
        ("Risk and limits", {"fields": ("risk", "assurance", "uses", "lifetime")}),
    )
    change_form_template = "admin/operations/operationtype/change_form.html"

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view
        return [
            path("import/", view(self.import_view), name="operations_operationtype_import"),
            path(
                "<int:pk>/roll-back/<int:number>/",
                view(self.roll_back_view),
                name="operations_operationtype_roll_back",
            ),
            *super().get_urls(),
        ]

    def import_view(self, request: HttpRequest) -> HttpResponse:
        return type_pages.import_page(self, request)

    def roll_back_view(self, request: HttpRequest, pk: int, number: int) -> HttpResponse:
        found = self.get_object(request, str(pk))
        if found is None or request.method != "POST":
            raise Http404
        return type_pages.roll_back(self, request, found, number)

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        found = self.get_object(request, unquote(object_id))
        if found is None:
            return super().history_view(request, object_id, extra_context)
        if not self.has_view_or_change_permission(request, found):
            raise PermissionDenied
        return type_pages.versions_page(self, request, found)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        draft = type_pages.draft_of(request) or {}
        found = {name: draft[name] for name in ("schema", "title", "summary") if name in draft}
        return super().get_changeform_initial_data(request) | found

    def changeform_view(
        self, request: HttpRequest, object_id: Any = None, form_url: str = "", extra_context: Any = None
    ) -> Any:
        draft = type_pages.draft_of(request) if request.method == "GET" and object_id is None else None
        return super().changeform_view(request, object_id, form_url, {"draft": draft, **(extra_context or {})})

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """A new type has no version yet."""
        first, *others = super().get_fieldsets(request, obj)
        return [first if obj else (None, {"fields": ("resource", "name", "is_active")}), *others]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return ("version", "problem", "name", "resource") if obj else ("version", "problem")

    @admin.display(description="title")
    def title(self, obj: OperationType) -> str:
        return obj.current.title if obj.current else "-"

    @admin.display(description="summary")
    def summary(self, obj: OperationType) -> str:
        return obj.current.summary if obj.current else "-"

    @admin.display(description="fields")
    def schema(self, obj: OperationType) -> str:
        text = json.dumps(obj.current.schema, indent=2, ensure_ascii=False) if obj.current else "-"
        return format_html("<pre>{}</pre>", text)

    @admin.display(description="uses")
    def uses(self, obj: OperationType) -> str:
        return str(obj.current.uses) if obj.current else "-"

    @admin.display(description="lifetime")
    def lifetime(self, obj: OperationType) -> str:
        return f"{obj.current.lifetime} seconds" if obj.current else "-"

    @admin.display(description="risk")
    def risk(self, obj: OperationType) -> str:
        return obj.current.risk if obj.current else "-"

    @admin.display(description="assurance")
    def assurance(self, obj: OperationType) -> str:
        return obj.current.assurance if obj.current else "-"

    @admin.display(description="version")
    def version(self, obj: OperationType) -> str:
        return str(obj.current.number) if obj.current else "-"

    @admin.display(description="problem")
    def problem(self, obj: OperationType) -> str:
        """A problem of a schema that was stored under older rules. Requests that use its faulty part are refused."""
        found = schemas.problems_with(obj.current.schema) if obj.current else []
        return found[0] if found else "-"

    def save_model(self, request: HttpRequest, obj: OperationType, form: Any, change: bool) -> None:
        lifecycle.save_operation_type(obj, form.meaning(), form.changed_data, _about(request), timezone.now())
