"""The kill switch: one action stops an agent, and reports success only when every item is confirmed
gone.

Tokens, requests, prompts and grants stop working at once with the agent's status, because each
check reads it. They are also ended, so that resuming the agent does not restore them. Database
accounts are on other systems; they count as gone when a read on the backend confirms it.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from accounts.models import User
from ciba import lifecycle as ciba
from ciba.models import BackchannelRequest
from ciba.states import REQUEST_STATES
from ciba.states import State as RequestState
from clients import lifecycle as agents
from clients.models import Agent
from credentials.leases import lifecycle as leases
from credentials.leases import revocation
from credentials.leases.states import FINAL_STATES, State
from credentials.models import Lease
from oauth.grants import lifecycle as grants
from oauth.grants.grant_tree import last_token_ends_at
from oauth.models import Grant


def stop(agent: Agent, by: User, now: datetime) -> None:
    """Stops the agent.

    Each step commits by itself, the most important first. Calling it again finishes an interrupted
    stop.
    """
    actor = f"user:{by.id}"
    agents.suspend(agent, by, now)
    leases.end_all(Q(agent=agent), actor, now, agent=agent.name)
    grants.revoke_grants_of(agent, now, actor=actor)
    ciba.withdraw_all(agent, actor, now)
    leases.retry_now(Q(agent=agent), now)
    live = Lease.objects.filter(agent=agent).exclude(state__in=FINAL_STATES).values_list("id", flat=True)
    revocation.revoke_first(list(live[: revocation.MAX_REVOKED_INLINE]))


@dataclass(frozen=True)
class Remainder:
    """One kind of item of an agent that still exists."""

    what: str
    count: int
    detail: str = ""


def find_remainder(agent: Agent, now: datetime) -> list[Remainder]:
    requests = BackchannelRequest.objects.filter(agent=agent, expires_at__gt=now)
    live = Lease.objects.filter(agent=agent).exclude(state__in=FINAL_STATES)
    states = live.values_list("state").annotate(Count("id")).order_by("state")
    return [
        Remainder("Agents that may call Countersign", int(agent.is_active)),
        Remainder(
            "Open and approved requests",
            requests.filter(state__in=REQUEST_STATES.open_states).count(),
        ),
        Remainder(
            "Prompts without an answer",
            requests.filter(state=RequestState.PENDING).aggregate(n=Count("prompts"))["n"],
        ),
        Remainder("Active grants", Grant.objects.filter(agent=agent, revoked_at=None, expires_at__gt=now).count()),
        Remainder(
            "Accounts not confirmed gone", live.count(), ", ".join(f"{count} {state}" for state, count in states)
        ),
    ]


def in_words(left: timedelta) -> str:
    """A duration such as `4 min 12 s`. It counts down when the page reloads."""
    minutes, seconds = divmod(int(left.total_seconds()) + 1, 60)
    hours, minutes = divmod(minutes, 60)
    return " ".join(f"{count} {unit}" for count, unit in ((hours, "h"), (minutes, "min"), (seconds, "s")) if count)


@require_http_methods(["GET", "POST"])
def kill_view(request: HttpRequest, agent_id: int) -> HttpResponse:
    """GET shows the remaining items, and reloads every two seconds while there are any.

    POST stops the agent.
    """
    agent = get_object_or_404(Agent, pk=agent_id)
    if not request.user.has_perm("clients.suspend_agent") or not isinstance(request.user, User):
        raise PermissionDenied
    if request.method == "POST":
        stop(agent, request.user, timezone.now())
        return redirect("admin:kill-agent", agent_id=agent.pk)
    now = timezone.now()
    left, ends_at = find_remainder(agent, now), last_token_ends_at(agent.client_id, now)
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": f"Stop {agent}",
        "agent": agent,
        "left": left,
        "is_done": not any(one.count for one in left),
        "tokens_end_at": ends_at,
        "tokens_end_in": in_words(ends_at - now) if ends_at else "",
        "abandoned": Lease.objects.filter(agent=agent, state=State.ABANDONED).count(),
    }
    return render(request, "admin/kill_agent.html", context)
