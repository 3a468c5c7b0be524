"""Exports of the administration's large lists, as CSV or JSON: filtered as shown, streamed, and recorded.

A class that exports names its columns one by one, so that a new column of a table is not exported by itself. The event
is written before the first row leaves: without an event there is no export.
"""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone

from audit import events
from audit.record import About, record_alone
from foundation import keyset
from foundation.large_lists import LargeList

MAX_EXPORTED = 50_000  # rows
MAX_BUFFERED = 64 * 1024  # characters of one part of the answer
MAX_FILTER_CHARACTERS = 300  # of one value in the event
# A spreadsheet reads a cell that begins with one of these as a formula, the wide ones in East Asian locales.
FORMULA_BEGINNINGS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


class ExportingList(LargeList):
    """A large list whose rows may be exported by whoever may view them."""

    # The name of each exported column → where its value is, from the row on.
    exported_columns: ClassVar[dict[str, str]]
    actions: Any = ("export_csv", "export_json")

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.export_view)
        return [path("export/<slug:form>/", view, name=self._export_name), *super().get_urls()]

    @property
    def _export_name(self) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_export"

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        export_path = f"{reverse(f'admin:{self.opts.app_label}_{self.opts.model_name}_changelist')}export/"
        context = {"may_export": self.has_view_permission(request), "export_path": export_path}
        return super().changelist_view(request, {**context, **(extra_context or {})})

    def export_view(self, request: HttpRequest, form: str) -> Any:
        """All rows that the list's filters and search find, not only those of one page.

        If some are left out, the list says so in place of an export.
        """
        if not self.has_view_permission(request):
            raise PermissionDenied
        if form not in WRITERS or request.method != "GET":
            raise Http404
        list_path = reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist")
        try:
            found = self.get_changelist_instance(request).queryset
        except IncorrectLookupParameters:
            return redirect(list_path)
        if getattr(request, "is_cut_off", False):
            return redirect(f"{list_path}?{request.GET.urlencode()}")
        return self.export(request, found, form)

    def export(self, request: HttpRequest, queryset: Any, form: str, *, selected: bool = False) -> HttpResponse:
        order = tuple(self.get_ordering(request))
        count = min(keyset.count_up_to(queryset, MAX_EXPORTED), MAX_EXPORTED)
        now = timezone.now()
        filters = {name: ", ".join(values)[:MAX_FILTER_CHARACTERS] for name, values in request.GET.lists()}
        record_alone(
            events.EXPORT_CREATED, About(f"user:{request.user.pk}"), now,
            list=self.opts.label_lower, format=form, filters=filters, selected=selected, rows=count,
        )  # fmt: skip
        rows = keyset.rows_in_chunks(queryset, order, list(self.exported_columns.values()), count)
        content_type, write = WRITERS[form]
        response = StreamingHttpResponse(write(list(self.exported_columns), rows), content_type=content_type)
        name = f"{self.opts.model_name}-{now:%Y%m%d-%H%M%S}.{form}"
        response["Content-Disposition"] = f'attachment; filename="{name}"'
        response["Cache-Control"] = "no-store"
        return response  # type: ignore[return-value]

    @admin.action(description="Export the selected rows (CSV)", permissions=["view"])
    def export_csv(self, request: HttpRequest, queryset: Any) -> HttpResponse:
        return self.export(request, queryset, "csv", selected=True)

    @admin.action(description="Export the selected rows (JSON)", permissions=["view"])
    def export_json(self, request: HttpRequest, queryset: Any) -> HttpResponse:
        return self.export(request, queryset, "json", selected=True)


def write_csv(names: list[str], rows: Iterable[Any]) -> Iterator[str]:
    """Every cell is quoted, so that no separator of another locale begins a new cell inside it."""
    line = io.StringIO(newline="")
    writer = csv.writer(line, quoting=csv.QUOTE_ALL)
    writer.writerow(names)
    for row in rows:
        writer.writerow([cell_of(value) for value in row])
        if line.tell() > MAX_BUFFERED:
            yield _taken(line)
    yield _taken(line)


def _taken(line: io.StringIO) -> str:
    text = line.getvalue()
    line.seek(0)
    line.truncate()
    return text


def cell_of(value: Any) -> str:
    """The value as text. A text that a spreadsheet would run as a formula begins with an apostrophe."""
    text = value if isinstance(value, str) else _text(value)
    return f"'{text}" if text.startswith(FORMULA_BEGINNINGS) else text


def write_json(names: list[str], rows: Iterable[Any]) -> Iterator[str]:
    """One array of objects, an object a line."""
    lines, size, separator = ["["], 0, "\n"
    for row in rows:
        values = (value if isinstance(value, str | int | list | dict | None) else _text(value) for value in row)
        lines.append(separator + json.dumps(dict(zip(names, values, strict=True)), ensure_ascii=False))
        separator, size = ",\n", size + len(lines[-1])
        if size > MAX_BUFFERED:
            yield "".join(lines)
            lines, size = [], 0
    yield "".join([*lines, "\n]\n"])


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


WRITERS: dict[str, tuple[str, Callable[[list[str], Iterable[Any]], Iterator[str]]]] = {
    "csv": ("text/csv; charset=utf-8", write_csv),
    "json": ("application/json", write_json),
}
