"""The rows of a large list, whose cells name their column: on a phone each row is a card (admin.css)."""

from typing import Any

from django import template
from django.contrib.admin.templatetags.admin_list import result_headers, results
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.text import capfirst

register = template.Library()


@register.inclusion_tag("admin/large_list_rows.html")
def large_list_rows(cl: Any) -> dict[str, Any]:
    headers = list(result_headers(cl))
    labels = ["" if "checkbox" in str(header.get("class_attrib", "")) else header["text"] for header in headers]
    rows = [[_labelled(cell, label) for cell, label in zip(row, labels, strict=True)] for row in results(cl)]
    return {"headers": headers, "rows": rows, "cl": cl}


def _labelled(cell: str, label: Any) -> SafeString:
    """The cell as Django rendered and escaped it, with the column's name as an attribute."""
    if not label:
        return mark_safe(cell)  # noqa: S308 - rendered by Django's format_html
    tag = cell[:3]
    return format_html('{} data-label="{}"{}', mark_safe(tag), capfirst(str(label)), mark_safe(cell[3:]))  # noqa: S308
