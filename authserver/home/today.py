"""Events of today by hour, and their charts."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.urls import reverse
from django.utils.http import urlencode

from accounts.models import User
from audit import events
from audit.events import EventKind
from authserver.home.figures import Figure, make_figure
from foundation.keyset import MAX_COUNTED

HOURS = 24
BAR_WIDTH, BAR_STEP, CHART_HEIGHT = 8, 10, 40  # of the SVG's own units

# The first events of each hour are found in the index of times, and the events of one kind between two
# hours in the index of kinds. So each number reads a thousand entries of an index at most. An event at the
# border of two hours may count for the other one, because ids are not strictly in the order of time: the
# lowest id of the first hundred events is a good border. Rows are compared and ordered as pairs, which only
# the index of kinds holds. PostgreSQL would otherwise filter all events of the hour, or of the table.
_COUNTS = """
WITH starts AS (
    SELECT hour, coalesce(
        (
            SELECT min(id) FROM (
                SELECT id FROM audit_event WHERE at >= %(midnight)s + hour * interval '1 hour' ORDER BY at LIMIT 100
            ) AS earliest
        ),
        9223372036854775807
    ) AS first
    FROM generate_series(0, %(hours)s) AS hour
), hours AS (SELECT hour, first, lead(first) OVER (ORDER BY hour) AS next FROM starts)
SELECT kind, hour, (
    SELECT count(*) FROM (
        SELECT FROM audit_event AS e
        WHERE (e.kind, e.id) >= (kinds.kind, first) AND (e.kind, e.id) < (kinds.kind, next)
        ORDER BY e.kind, e.id LIMIT %(limit)s
    ) AS counted
)
FROM unnest(%(kinds)s::text[]) AS kinds (kind), hours
WHERE next IS NOT NULL
ORDER BY kind, hour
"""


@dataclass(frozen=True)
class Series:
    """Events of one kind. Who sees the list of what they concern sees their number."""

    title: str
    kind: EventKind
    permission: str


SERIES = (
    Series("Requests", events.REQUEST_OPENED, "ciba.view_backchannelrequest"),
    Series("Approvals", events.REQUEST_APPROVED, "ciba.view_backchannelrequest"),
    Series("Denials", events.REQUEST_DENIED, "ciba.view_backchannelrequest"),
    Series("Uses", events.USE_SPENT, "oauth.view_use"),
    Series("Leases", events.LEASE_ISSUED, "credentials.view_lease"),
)


@dataclass(frozen=True)
class Bar:
    x: int
    y: int
    height: int
    title: str


@dataclass(frozen=True)
class Chart:
    """One series of today. `url` is empty if the reader may not see the audit log."""

    title: str
    hours: list[Figure]
    url: str

    @property
    def total(self) -> Figure:
        return sum(self.hours, Figure(0))

    @property
    def label(self) -> str:
        """What the picture shows, in words."""
        busiest = max(range(len(self.hours)), key=lambda hour: self.hours[hour].count)
        text = f"{self.title} by hour, UTC: {self.total} today"
        return f"{text}, most from {busiest:02}:00 ({self.hours[busiest]})." if self.total else f"{text}."

    @property
    def bars(self) -> list[Bar]:
        highest = max(figure.count for figure in self.hours) or 1
        heights = [-(-figure.count * CHART_HEIGHT // highest) for figure in self.hours]
        return [
            Bar(hour * BAR_STEP + 1, CHART_HEIGHT - height, height, f"{hour:02}:00: {self.hours[hour]}")
            for hour, height in enumerate(heights)
        ]


def read_charts(user: User, now: datetime) -> list[Chart]:
    """The charts that this member of staff may see, from midnight UTC to now."""
    seen = [series for series in SERIES if user.has_perm(series.permission)]
    if not seen:
        return []
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    counts = _count(midnight, now.hour + 1, [series.kind.name for series in seen])
    has_log = user.has_perm("audit.view_event")
    return [
        Chart(series.title, counts[series.kind.name], _url(series.kind, midnight) if has_log else "") for series in seen
    ]


def _count(midnight: datetime, hours: int, kinds: list[str]) -> dict[str, list[Figure]]:
    parameters: dict[str, Any] = {"midnight": midnight, "hours": hours, "kinds": kinds, "limit": MAX_COUNTED + 1}
    with connection.cursor() as cursor:
        cursor.execute(_COUNTS, parameters)
        rows = cursor.fetchall()
    return {kind: [make_figure(count) for name, _, count in rows if name == kind] for kind in kinds}


def _url(kind: EventKind, midnight: datetime) -> str:
    until = midnight + timedelta(hours=HOURS)
    query = {"kind": kind.name, "at__gte": midnight.isoformat(), "at__lt": until.isoformat()}
    return f"{reverse('admin:audit_event_changelist')}?{urlencode(query)}"


def rows_by_hour(charts: list[Chart]) -> list[tuple[str, list[Figure]]]:
    """The same figures for a table: one row for each hour."""
    return [(f"{hour:02}:00", list(row)) for hour, row in enumerate(zip(*(one.hours for one in charts), strict=True))]
