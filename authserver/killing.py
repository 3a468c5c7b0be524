"""The kill switch: one action stops an agent, and says so only when every item is confirmed gone.

Tokens, requests, prompts and grants die with the agent's status at once, because each asks for it; they are ended as
well, so that resuming the agent revives none. Accounts live elsewhere: they are gone when a read on the system says so.
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
from ciba.states import TRANSITIONS
from ciba.states import State as RequestState
from clients import lifecycle as agents
from clients.models import Agent
from credentials import lifecycle as leases
from credentials import taking_back
from credentials.models import Lease
from credentials.states import FINISHED, State
from oauth import lifecycle as grants
from oauth.models import Grant
from oauth.tree import last_token_ends_at


def stop(agent: Agent, by: User, now: datetime) -> None:
    """Each step commits by itself, the most important first; doing it again finishes what was interrupted."""
    actor = f"user:{by.id}"
    agents.suspend(agent, by, now)
    leases.end_all(Q(agent=agent), actor, now, agent=agent.name)
    grants.revoke_grants_of(agent, now, actor=actor)
    ciba.withdraw_all(agent, actor, now)
    leases.retry_now(Q(agent=agent), now)
    live = Lease.objects.filter(agent=agent).exclude(state__in=FINISHED).values_list("id", flat=True)
    taking_back.take_back_first(list(live[: taking_back.FIRST]))


@dataclass(frozen=True)
class Left:
    """What of an agent is still there."""

    what: str
    count: int
    detail: str = ""


def find_left(agent: Agent, now: datetime) -> list[Left]:
    requests = BackchannelRequest.objects.filter(agent=agent, expires_at__gt=now)
    live = Lease.objects.filter(agent=agent).exclude(state__in=FINISHED)
    states = live.values_list("state").annotate(Count("id")).order_by("state")
    return [
        Left("The agent may call Countersign", int(agent.is_active)),
        Left(
            "Requests that are open or approved",
            requests.filter(state__in=list(TRANSITIONS)).count(),
        ),
        Left(
            "Prompts that wait for an answer",
            requests.filter(state=RequestState.PENDING).aggregate(n=Count("prompts"))["n"],
        ),
        Left("Grants that count", Grant.objects.filter(agent=agent, revoked_at=None, expires_at__gt=now).count()),
        Left("Accounts not confirmed gone", live.count(), ", ".join(f"{count} {state}" for state, count in states)),
    ]


def in_words(left: timedelta) -> str:
    """`4 min 12 s`: as the page is loaded again, it counts down."""
    minutes, seconds = divmod(int(left.total_seconds()) + 1, 60)
    hours, minutes = divmod(minutes, 60)
    return " ".join(f"{count} {unit}" for count, unit in ((hours, "h"), (minutes, "min"), (seconds, "s")) if count)


@require_http_methods(["GET", "POST"])
def kill_view(request: HttpRequest, agent_id: int) -> HttpResponse:
    """GET shows what is left, again every two seconds while something is; POST stops the agent."""
    agent = get_object_or_404(Agent, pk=agent_id)
    if not request.user.has_perm("clients.change_agent") or not isinstance(request.user, User):
        raise PermissionDenied
    if request.method == "POST":
        stop(agent, request.user, timezone.now())
        return redirect("admin:kill-agent", agent_id=agent.pk)
    now = timezone.now()
    left, ends_at = find_left(agent, now), last_token_ends_at(agent.client_id, now)
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": f"Stop {agent}",
        "agent": agent,
        "left": left,
        "is_done": not any(one.count for one in left),
        "tokens_end_at": ends_at,
        "tokens_end_in": in_words(ends_at - now) if ends_at else "",
        "forgotten": Lease.objects.filter(agent=agent, state=State.FORGOTTEN).count(),
    }
    return render(request, "admin/kill_agent.html", context)
