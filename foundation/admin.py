"""What the admin classes of several apps share: pages that only show, and nothing that deletes."""

import json
from collections.abc import Iterable
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Model
from django.forms.fields import InvalidJSONInput
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from foundation.models import Work


class LegibleJSON(forms.JSONField):
    """JSON as a person edits it: indented, in a wide field."""

    widget = forms.Textarea(attrs={"rows": 16, "class": "vLargeTextField json", "spellcheck": "false"})

    def prepare_value(self, value: Any) -> Any:
        if isinstance(value, InvalidJSONInput):
            return value
        if value is None:
            return ""
        return json.dumps(value, indent=2, ensure_ascii=False)


class NoDeletion(admin.ModelAdmin[Any]):
    """The admin deactivates; it does not delete: the audit trail refers to what is here."""

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Of a row that was there only what was changed here: the rest may be newer than what was read.

        A whole row would undo whatever was committed since, a suspension or a rotated secret as much as a count.
        "Changed" compares with the row as it is when the page is sent; where it must be the page as it was shown,
        which may have been open for long, the form shows its hidden initials (RoleForm).
        """
        obj.save(update_fields=changed_fields(obj, form.changed_data) if change else None)


def changed_fields(obj: Model, names: Iterable[str]) -> list[str]:
    """The columns among what a form says was changed, and those that tell when a row was."""
    changed = set(names) & {field.name for field in obj._meta.concrete_fields}
    kept = [field.name for field in obj._meta.concrete_fields if getattr(field, "auto_now", False)]
    return sorted(changed) + (kept if changed else [])


class ReadOnly(NoDeletion):
    """Lists and opens; changes nothing."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Work)
class WorkAdmin(ReadOnly):
    """What is owed to the outside, and how it went."""

    list_display = ("created_at", "kind", "about", "state", "attempts", "due_at", "deadline_at", "problem")
    list_filter = ("state", "kind")
    search_fields = ("about", "id")
    date_hierarchy = "created_at"


def show_once(
    model_admin: admin.ModelAdmin[Any], request: HttpRequest, *, owner: str, holder: tuple[str, str], secret: str
) -> HttpResponse:
    """A page with a new secret, never cached. `holder` is the label and the value of the user name."""
    meta = model_admin.model._meta
    context = {
        **model_admin.admin_site.each_context(request),
        "title": f"New secret of {owner}",
        "holder_label": holder[0],
        "holder": holder[1],
        "secret": secret,
        "back": f"admin:{meta.app_label}_{meta.model_name}_changelist",
    }
    response = render(request, "admin/secret_once.html", context)
    response["Cache-Control"] = "no-store"
    return response
