"""/activity: what happened, as the person reads it."""

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

PAGE = 50
# What upper packages show above the list: (request, now) → safe HTML or "". Filled by authserver/wiring.py.
PARTS: list[Callable[[HttpRequest, datetime], str]] = []
# What is said beside the name of some agents: client_ids → client_id and mark. Filled by authserver/wiring.py.
MARKS: list[Callable[[Collection[str]], dict[str, str]]] = []


@never_cache
@login_required
@require_safe
def activity(request: HttpRequest) -> HttpResponse:
    """The signed-in person's own events, newest first; `?before=<id>` goes on from there."""
    told = [kind.name for kind in all_kinds() if kind.told]
    mine = Event.objects.filter(user_id=request.user.pk, kind__in=told)
    before = request.GET.get("before", "")
    if before.isdecimal() and len(before) <= 18:
        mine = mine.filter(id__lt=int(before))
    page = list(mine[: PAGE + 1])
    client_ids = {event.client_id for event in page[:PAGE] if event.client_id}
    marks = {client_id: mark for find in MARKS for client_id, mark in find(client_ids).items()}
    rows = [_row(event) | {"mark": marks.get(event.client_id, "")} for event in page[:PAGE]]
    older = page[PAGE - 1].id if len(page) > PAGE else None
    now = timezone.now()
    parts = [] if before else [part(request, now) for part in PARTS]
    return render(request, "audit/activity.html", {"rows": rows, "older": older, "parts": parts})


def _row(event: Event) -> dict[str, Any]:
    """`headline` says what it was about, `agent` who asked; both only where the event has them."""
    kind = find_kind(event.kind)
    facts = json.loads(event.body)["facts"]
    about = [facts.get("headline") or ", ".join(facts.get("types", [])), facts.get("agent", "")]
    return {"event": event, "told": kind.told if kind else event.kind, "about": " · ".join(filter(None, about))}
