"""The page /activity: the user's own events in plain words."""

import json
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from audit.events import all_kinds, find_kind
from audit.models import Event

EVENTS_PER_PAGE = 50
# Parts of the page that upper packages render above the list: (request, now) → safe HTML or "".
# authserver/wiring.py fills it.
PARTS: list[Callable[[HttpRequest, datetime], str]] = []
# Marks that pages display beside the names of some agents: client_ids → {client_id: mark}.
# authserver/wiring.py fills it.
MARKS: list[Callable[[Collection[str]], dict[str, str]]] = []


@never_cache
@login_required
@require_safe
def activity(request: HttpRequest) -> HttpResponse:
    """The signed-in user's own events, newest first. `?before=<id>` shows older ones."""
    user_text = [kind.name for kind in all_kinds() if kind.user_text]
    own_events = Event.objects.filter(user_id=request.user.pk, kind__in=user_text)
    before = request.GET.get("before", "")
    if before.isdecimal() and len(before) <= 18:
        own_events = own_events.filter(id__lt=int(before))
    page = list(own_events[: EVENTS_PER_PAGE + 1])
    client_ids = {event.client_id for event in page[:EVENTS_PER_PAGE] if event.client_id}
    marks = {client_id: mark for find in MARKS for client_id, mark in find(client_ids).items()}
    rows = [_row(event) | {"mark": marks.get(event.client_id, "")} for event in page[:EVENTS_PER_PAGE]]
    older = page[EVENTS_PER_PAGE - 1].id if len(page) > EVENTS_PER_PAGE else None
    now = timezone.now()
    parts = [] if before else [part(request, now) for part in PARTS]
    return render(request, "audit/activity.html", {"rows": rows, "older": older, "parts": parts})


def _row(event: Event) -> dict[str, Any]:
    """One line of the list, with the event's `headline` (or types) and `agent` if it has them."""
    kind = find_kind(event.kind)
    facts = json.loads(event.body)["facts"]
    about = [facts.get("headline") or ", ".join(facts.get("types", [])), facts.get("agent", "")]
    return {"event": event, "text": kind.user_text if kind else event.kind, "about": " · ".join(filter(None, about))}
