"""Admin classes that several apps share: read-only pages, and pages without deletion."""

import json
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.widgets import AutocompleteSelect
from django.core.exceptions import BadRequest, ValidationError
from django.db import models
from django.forms.fields import InvalidJSONInput
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from foundation.changed_columns import save_changed
from foundation.errors import InvalidRequest
from foundation.forms import parse_json
from foundation.models import Work

MAX_JSON_DEPTH = 40  # enough for the deepest JSON Schema that operations/schemas.py accepts


class LegibleJSON(forms.JSONField):
    """A form field that shows JSON indented in a wide text area and parses it as strictly as JSON from the network.

    Django's own field accepts values that fail later: PostgreSQL refuses NUL and lone surrogates,
    and Python raises on deep nesting and on very long numbers.
    """

    widget = forms.Textarea(attrs={"rows": 16, "class": "vLargeTextField json", "spellcheck": "false"})

    def to_python(self, value: Any) -> Any:
        if self.disabled or not isinstance(value, str) or value in self.empty_values:
            return super().to_python(value)
        try:
            return parse_json(value, "It", max_depth=MAX_JSON_DEPTH)
        except InvalidRequest as error:
            raise ValidationError(_place_of(error) or error.description) from error

    def bound_data(self, data: Any, initial: Any) -> Any:
        """Returns the submitted text unchanged, so that a refused form shows the input as typed."""
        return initial if self.disabled else data if data is None else InvalidJSONInput(data)

    def prepare_value(self, value: Any) -> Any:
        if isinstance(value, InvalidJSONInput):
            return value
        if value is None:
            return ""
        return json.dumps(value, indent=2, ensure_ascii=False)


def _place_of(error: InvalidRequest) -> str:
    """Where the text stops being JSON."""
    cause = error.__cause__
    if not isinstance(cause, json.JSONDecodeError):
        return ""
    return f"This is not JSON: line {cause.lineno}, column {cause.colno}: {cause.msg}."


# The lookups that Django's own filters and date hierarchies append to a field's name.
_LOOKUPS = frozenset({"exact", "isnull", "gte", "gt", "lte", "lt", "year", "month", "day"})


class Careful(admin.ModelAdmin[Any]):
    """An admin class that survives any URL and any form: it ignores or refuses bad input and never answers 500."""

    formfield_overrides: ClassVar[dict[Any, Any]] = {models.JSONField: {"form_class": LegibleJSON}}
    view_on_site = False
    # Columns that our own pages link to, in addition to the columns of the filters.
    linked_columns: tuple[str, ...] = ()
    # What the rows are for, for a reader who sees an empty list.
    purpose = ""

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        return super().changelist_view(request, {"purpose": self.purpose, **(extra_context or {})})

    def get_ordering(self, request: HttpRequest) -> Any:
        """Always returns an explicit order.

        Django drops the model's own ordering when it counts rows, and pages of an unordered query
        repeat rows.
        """
        return self.ordering or self.model._meta.ordering or ("-pk",)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Hides a new row's generated read-only fields: the saved row gets other values than this page would show."""
        names = super().get_fields(request, obj)
        if obj is not None:
            return names
        drawn = {field.name for field in self.model._meta.concrete_fields if callable(field.default)}
        return [name for name in names if name not in drawn & set(self.get_readonly_fields(request))]

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        return super().get_object(request, object_id, from_field or None)  # an empty ?_to_field= names no field

    def to_field_allowed(self, request: HttpRequest, to_field: str) -> bool:
        """Refuses ?_to_field=+, which names a field of another model that points to this one."""
        is_own = any(field.name == to_field for field in self.model._meta.concrete_fields)
        return is_own and super().to_field_allowed(request, to_field)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """The initial values from the URL that the form's fields accept."""
        proposed = super().get_changeform_initial_data(request)
        fields = self.get_form(request, change=False).base_fields
        return {name: value for name, value in proposed.items() if name in fields and _is_valid(fields[name], value)}

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name in self.get_autocomplete_fields(request):
            kwargs["widget"] = Chooser(db_field, self.admin_site)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def response_action(self, request: HttpRequest, queryset: Any, *args: Any, **kwargs: Any) -> Any:
        for key in request.POST.getlist(ACTION_CHECKBOX_NAME):
            if not _is_key(self.model._meta.pk, key):
                raise BadRequest(f"{key!r} is no row")
        return super().response_action(request, queryset, *args, **kwargs)

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Django checks the values of its filters, and not those of other columns: a linked one, or a year 99999."""
        try:
            return super().get_changelist_instance(request)
        except (ValueError, OverflowError) as error:
            raise IncorrectLookupParameters(str(error)) from error

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        """Allows only the lookups that the page offers.

        Django also allows any other column of the model with any operator: ?password__startswith=
        would read a hash character by character.
        """
        filters = [str(getattr(one, "parameter_name", one)) for one in self.list_filter]
        names = [*filters, *self.linked_columns, *([self.date_hierarchy] if self.date_hierarchy else [])]
        behind = [lookup.removeprefix(name).split("__") for name in names if f"{lookup}__".startswith(f"{name}__")]
        keys = {"", "id", "pk"}  # for a filter by a row of another model
        return any(set(steps) <= keys | _LOOKUPS for steps in behind) and super().lookup_allowed(lookup, value, request)


class Chooser(AutocompleteSelect):
    """An autocomplete widget that ignores invalid keys. Django's own looks them up before the form refuses them."""

    def optgroups(self, name: str, value: Any, attrs: Any = None) -> Any:
        keys = [key for key in value if not key or _is_key(self.field.target_field, key)]
        return super().optgroups(name, keys, attrs)


def _is_key(field: Any, text: str) -> bool:
    try:
        field.to_python(text)
    except ValidationError:
        return False
    return True


def _is_valid(field: forms.Field, value: Any) -> bool:
    try:
        field.clean(value)
    except ValidationError:
        return False
    return True


class NoDeletion(Careful):
    """An admin class without deletion. Rows are deactivated, because audit events refer to them."""

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Updates only the fields that the form changed, because other columns may be newer than the form.

        Django compares the form with the row at submission. If a form must compare with the row as
        it was displayed, possibly long before, it renders hidden initial values (RoleForm).
        """
        save_changed(obj, form.changed_data)


class ReadOnly(NoDeletion):
    """An admin class that lists and opens rows and changes nothing."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Work)
class WorkAdmin(ReadOnly):
    """The outbox: pending work and its results."""

    purpose = (
        "Messages that Countersign still has to send, such as push messages and callbacks. They appear by themselves."
    )

    list_display = ("created_at", "kind", "about", "state", "attempts", "due_at", "deadline_at", "problem")
    list_filter = ("state", "kind")
    search_fields = ("about", "id")
    date_hierarchy = "created_at"
    linked_columns = ("finished_at",)


def show_once(
    model_admin: admin.ModelAdmin[Any], request: HttpRequest, *, owner: str, holder: tuple[str, str], secret: str
) -> HttpResponse:
    """Renders a page that shows a new secret once and is never cached.

    `holder` is the label and the value of the user name.
    """
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
