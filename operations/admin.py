"""Resources, scopes and operation types in the administration."""

from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from audit.record import About
from foundation.admin import LegibleJSON, NoDeletion, show_once
from operations import lifecycle, schemas
from operations.models import OperationType, OperationTypeVersion, Resource, Scope


def _about(request: HttpRequest) -> About:
    return About(f"user:{request.user.pk}")


@admin.register(Resource)
class ResourceAdmin(NoDeletion):
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
    list_display = ("name", "resource", "risk", "description", "is_active")
    list_filter = ("resource", "risk", "is_active")
    search_fields = ("name", "description")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return ("name", "resource") if obj else ()

    def save_model(self, request: HttpRequest, obj: Scope, form: Any, change: bool) -> None:
        lifecycle.save_scope(obj, form.changed_data, _about(request), timezone.now())


class OperationTypeForm(forms.ModelForm[OperationType]):
    """An operation type with the fields of its newest version. Changing such a field creates the next version."""

    MEANING: ClassVar[tuple[str, ...]] = OperationTypeVersion.MEANING

    schema = OperationTypeVersion._meta.get_field("schema").formfield(form_class=LegibleJSON)
    title = OperationTypeVersion._meta.get_field("title").formfield()
    summary = OperationTypeVersion._meta.get_field("summary").formfield(
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="{field} or {field|formatter}: money, date, time, host, list.",
    )
    risk = OperationTypeVersion._meta.get_field("risk").formfield()
    assurance = OperationTypeVersion._meta.get_field("assurance").formfield()
    uses = OperationTypeVersion._meta.get_field("uses").formfield(help_text="How many uses one approval allows.")
    lifetime = OperationTypeVersion._meta.get_field("lifetime").formfield(help_text="Lifetime of a grant, in seconds.")

    class Meta:
        model = OperationType
        fields = ("resource", "name", "is_active")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        current = self.instance.current if self.instance.pk else None
        if current:
            self.initial.update({name: getattr(current, name) for name in self.MEANING})

    def meaning(self) -> dict[str, Any]:
        return {name: self.cleaned_data[name] for name in self.MEANING}

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        if not self.errors:
            OperationTypeVersion.check_meaning(self.meaning())
        return cleaned


@admin.register(OperationType)
class OperationTypeAdmin(NoDeletion):
    form = OperationTypeForm
    list_display = ("name", "problem", "resource", "risk", "assurance", "version", "is_active")
    list_filter = ("resource", "is_active", "current__risk")
    list_select_related = ("resource", "current")
    search_fields = ("name", "current__title")
    fields = ("resource", "name", "is_active", "version", "problem", *OperationTypeVersion.MEANING)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return ("version", "problem", "name", "resource") if obj else ("version", "problem")

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
