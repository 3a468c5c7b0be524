"""What the admin classes of several apps share: pages that only show, and nothing that deletes."""

import json
from collections.abc import Iterable
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.widgets import AutocompleteSelect
from django.core.exceptions import BadRequest, ValidationError
from django.db import models
from django.forms.fields import InvalidJSONInput
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from foundation.errors import InvalidRequest
from foundation.forms import parse_json
from foundation.models import Work

MAX_JSON_DEPTH = 40  # of a schema that is nested as deep as schemas may be


class LegibleJSON(forms.JSONField):
    """JSON as a person edits it: indented, in a wide field. Read like JSON from the network, which Django's is not:
    PostgreSQL refuses NUL and lone surrogates, and Python gives up on depth and on long numbers."""

    widget = forms.Textarea(attrs={"rows": 16, "class": "vLargeTextField json", "spellcheck": "false"})

    def to_python(self, value: Any) -> Any:
        if self.disabled or not isinstance(value, str) or value in self.empty_values:
            return super().to_python(value)
        try:
            return parse_json(value, "It", max_depth=MAX_JSON_DEPTH)
        except InvalidRequest as error:
            raise ValidationError(error.description) from error

    def bound_data(self, data: Any, initial: Any) -> Any:
        """A refused form shows what was typed, as it was typed."""
        return initial if self.disabled else data if data is None else InvalidJSONInput(data)

    def prepare_value(self, value: Any) -> Any:
        if isinstance(value, InvalidJSONInput):
            return value
        if value is None:
            return ""
        return json.dumps(value, indent=2, ensure_ascii=False)


# What Django's own filters and date hierarchies put behind a field's name.
_LOOKUPS = frozenset({"exact", "isnull", "gte", "gt", "lte", "lt", "year", "month", "day"})


class Careful(admin.ModelAdmin[Any]):
    """Takes any address and any form: what does not fit is left out or refused, and never an error of the server."""

    formfield_overrides: ClassVar[dict[Any, Any]] = {models.JSONField: {"form_class": LegibleJSON}}
    view_on_site = False
    # Columns that our own pages link to, beside those of the filters.
    linked_columns: tuple[str, ...] = ()

    def get_ordering(self, request: HttpRequest) -> Any:
        """Said each time: the model's own is lost where rows are counted, and pages of no order repeat rows."""
        return self.ordering or self.model._meta.ordering or ("-pk",)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Of a new row nothing that is drawn when it is saved: the page would show an id that nobody gets."""
        names = super().get_fields(request, obj)
        if obj is not None:
            return names
        drawn = {field.name for field in self.model._meta.concrete_fields if callable(field.default)}
        return [name for name in names if name not in drawn & set(self.get_readonly_fields(request))]

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        return super().get_object(request, object_id, from_field or None)  # ?_to_field= names no field

    def to_field_allowed(self, request: HttpRequest, to_field: str) -> bool:
        """?_to_field=+ names another model's field that points here."""
        is_own = any(field.name == to_field for field in self.model._meta.concrete_fields)
        return is_own and super().to_field_allowed(request, to_field)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """What an address proposes for a new row, where the form would take it."""
        proposed = super().get_changeform_initial_data(request)
        fields = self.get_form(request, change=False).base_fields
        return {name: value for name, value in proposed.items() if name in fields and _takes(fields[name], value)}

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name in self.get_autocomplete_fields(request):
            kwargs["widget"] = Chooser(db_field, self.admin_site)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def response_action(self, request: HttpRequest, queryset: Any, *args: Any, **kwargs: Any) -> Any:
        for key in request.POST.getlist(ACTION_CHECKBOX_NAME):
            if not _is_key(self.model._meta.pk, key):
                raise BadRequest(f"{key!r} is no row")
        return super().response_action(request, queryset, *args, **kwargs)

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        """Only what the page offers. Django also lets any column of the model be asked, with any operator:
        ?password__startswith= would read a hash character by character."""
        filters = [str(getattr(one, "parameter_name", one)) for one in self.list_filter]
        names = [*filters, *self.linked_columns, *([self.date_hierarchy] if self.date_hierarchy else [])]
        behind = [lookup.removeprefix(name).split("__") for name in names if f"{lookup}__".startswith(f"{name}__")]
        keys = {"", "id", "pk"}  # of a filter by another model's row
        return any(set(steps) <= keys | _LOOKUPS for steps in behind) and super().lookup_allowed(lookup, value, request)


class Chooser(AutocompleteSelect):
    """Django's looks up what was typed before the form has refused it."""

    def optgroups(self, name: str, value: Any, attrs: Any = None) -> Any:
        keys = [key for key in value if not key or _is_key(self.field.target_field, key)]
        return super().optgroups(name, keys, attrs)


def _is_key(field: Any, text: str) -> bool:
    try:
        field.to_python(text)
    except ValidationError:
        return False
    return True


def _takes(field: forms.Field, value: Any) -> bool:
    try:
        field.clean(value)
    except ValidationError:
        return False
    return True


class NoDeletion(Careful):
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


def changed_fields(obj: models.Model, names: Iterable[str]) -> list[str]:
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
