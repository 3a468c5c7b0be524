"""Filters of large lists: agent, user and time. Each stands beside the list as a small form, and they combine."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib.admin import ListFilter
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import Q
from django.http import HttpRequest
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from foundation import parties

PERIODS = {
    "hour": ("Last hour", timedelta(hours=1)),
    "day": ("Last 24 hours", timedelta(days=1)),
    "week": ("Last 7 days", timedelta(days=7)),
}


class FormFilter(ListFilter):
    """A filter with input fields. Its form keeps the other parameters of the list."""

    names: tuple[str, ...]

    def __init__(self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any) -> None:
        super().__init__(request, params, model, model_admin)
        self.model_admin = model_admin
        for name in self.names:
            if text := (params.pop(name, None) or [""])[-1].strip():
                self.used_parameters[name] = text

    def has_output(self) -> bool:
        return True

    def expected_parameters(self) -> list[str | None]:
        return list(self.names)

    def choices(self, changelist: Any) -> Iterator[dict[str, Any]]:
        """What the form carries along."""
        others = {name: value for name, value in changelist.params.items() if name not in self.names}
        yield {"hidden": list(others.items())}

    def in_words(self) -> str:
        return " ".join(map(self.get, self.used_parameters))

    def get(self, name: str) -> str:
        return str(self.used_parameters.get(name, ""))


class PartyFilter(FormFilter):
    """The rows of the agents or users whom a text finds.

    A subclass says how they are found, and which rows are theirs.
    """

    template = "admin/text_filter.html"
    help_text: str

    @property
    def text(self) -> str:
        return self.get(self.names[0])

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        if not self.text:
            return queryset
        found = self.find(self.text)
        self.model_admin.warn_if_cut_off(request, found)
        self.branches = [self.rows_of([one]) for one in found.rows]
        return queryset.filter(self.rows_of(found.rows))

    def find(self, text: str) -> parties.Found:
        raise NotImplementedError

    def rows_of(self, found: Sequence[Any]) -> Q:
        raise NotImplementedError


class AgentFilter(PartyFilter):
    title = parameter_name = "agent"
    names = ("agent",)
    help_text = "Client ID, or the beginning of the name"

    def find(self, text: str) -> parties.Found:
        return parties.find_agents(text)

    def rows_of(self, found: Sequence[Any]) -> Q:
        rows: Q = self.model_admin.rows_of_agents(found)
        return rows


class UserFilter(PartyFilter):
    title = parameter_name = "user"
    names = ("user",)
    help_text = "ID, or the beginning of the e-mail address"

    def find(self, text: str) -> parties.Found:
        return parties.find_users(text)

    def rows_of(self, found: Sequence[Any]) -> Q:
        rows: Q = self.model_admin.rows_of_users(found)
        return rows


class TimeFilter(FormFilter):
    """The last hour, day or week, or from one time to another, in UTC."""

    title = "time"
    template = "admin/time_filter.html"
    parameter_name = "within"
    names = ("within", "from", "to")

    def __init__(self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any) -> None:
        super().__init__(request, params, model, model_admin)
        if self.get("within") not in ("", *PERIODS):
            raise IncorrectLookupParameters("not a period")
        self.begins, self.ends = (_time(self.get(name)) for name in ("from", "to"))

    def choices(self, changelist: Any) -> Iterator[dict[str, Any]]:
        for value, (label, _) in PERIODS.items():
            chosen = value == self.get("within")
            yield {
                "display": label,
                "selected": chosen,
                "query_string": changelist.query_with(self.names, within=value),
            }
        yield from super().choices(changelist)

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        column, wanted = self.model_admin.time_column, Q()
        if period := self.get("within"):
            wanted &= Q(**{f"{column}__gte": timezone.now() - PERIODS[period][1]})
        if self.begins:
            wanted &= Q(**{f"{column}__gte": self.begins})
        if self.ends:
            wanted &= Q(**{f"{column}__lt": self.ends})
        return queryset.filter(wanted)

    def in_words(self) -> str:
        period = PERIODS[self.get("within")][0].lower() if self.get("within") else ""
        begins = f"from {self.begins:%Y-%m-%d %H:%M} UTC" if self.begins else ""
        ends = f"to {self.ends:%Y-%m-%d %H:%M} UTC" if self.ends else ""
        return " ".join(filter(None, [period, begins, ends]))

    @property
    def begins_at(self) -> str:
        return f"{self.begins:%Y-%m-%dT%H:%M}" if self.begins else ""

    @property
    def ends_at(self) -> str:
        return f"{self.ends:%Y-%m-%dT%H:%M}" if self.ends else ""


def _time(text: str) -> datetime | None:
    """A time as a browser's field sends it. Without an offset it is UTC."""
    if not text:
        return None
    try:
        parsed = parse_datetime(text if "T" in text or " " in text else f"{text}T00:00")
        if parsed is None:
            raise ValueError("not a time")
        aware = parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
        return aware.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise IncorrectLookupParameters(f"{text[:40]!r} is no time") from error
