"""`{% moment at "minute" %}`: a time on a user's page, in UTC. times.js puts it into the user's zone."""

from datetime import UTC, datetime

from django import template
from django.utils.dateformat import format as format_date
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()

# What is shown of a time → how it reads in UTC. times.js has the same names.
SHOWS = {
    "day": "j F Y",
    "minute": "j F Y, H:i",
    "second": "j F Y, H:i:s",
    "short-minute": "j M Y, H:i",
    "clock": "H:i",
    "clock-second": "H:i:s",
}
UNNAMED = {"clock"}  # in a list of many, whose page names the zone once


@register.simple_tag
def moment(at: datetime, shows: str) -> SafeString:
    at = at.astimezone(UTC)
    zone = "" if shows in UNNAMED else " UTC"
    return format_html(
        '<time datetime="{}" data-shows="{}" title="{} UTC">{}{}</time>',
        at.isoformat(), shows, format_date(at, SHOWS["second"]), format_date(at, SHOWS[shows]), zone,
    )  # fmt: skip
