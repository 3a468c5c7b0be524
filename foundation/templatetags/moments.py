"""`{% moment at "minute" %}`: a time on a user's page, in UTC. times.js converts it to the user's time zone."""

from datetime import UTC, datetime

from django import template
from django.utils.dateformat import format as format_date
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()

# The name of a format → the format in UTC. times.js uses the same names.
SHOWS = {
    "day": "j F Y",
    "minute": "j F Y, H:i",
    "second": "j F Y, H:i:s",
    "short-minute": "j M Y, H:i",
    "clock": "H:i",
    "clock-second": "H:i:s",
}
UNNAMED = {"clock"}  # for lists whose page names the time zone once


@register.simple_tag
def moment(at: datetime, shows: str) -> SafeString:
    at = at.astimezone(UTC)
    zone = "" if shows in UNNAMED else " UTC"
    return format_html(
        '<time datetime="{}" data-shows="{}" title="{} UTC">{}{}</time>',
        at.isoformat(), shows, format_date(at, SHOWS["second"]), format_date(at, SHOWS[shows]), zone,
    )  # fmt: skip
