"""An administrator ends leases: of an agent, a person, a grant, a role, a backend, or all of them.

One action and one record; the page says that it is done only when every account is confirmed gone by a read.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Count, Model, Q
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from accounts.models import User
from clients.models import Agent
from credentials import lifecycle, taking_back
from credentials.models import Backend, Lease, Role
from credentials.states import ENDING, FINISHED, State
from oauth.models import Grant


@dataclass(frozen=True)
class Whose:
    """Which leases: in words, as a condition, and as the record says it."""

    words: str
    which: Q = field(default_factory=Q)
    said: dict[str, Any] = field(default_factory=lambda: {"all": True})


# What leases can be ended by: the model, the lease's column, and what the record says of one.
BY: dict[str, tuple[type[Model], str, Callable[[Any], str]]] = {
    "agent": (Agent, "agent", lambda agent: str(agent.name)),
    "person": (User, "user", lambda user: str(user.id)),
    "grant": (Grant, "grant", lambda grant: str(grant.id)),
    "role": (Role, "role", lambda role: str(role.name)),
    "backend": (Backend, "backend", lambda backend: str(backend.name)),
}


def end(which: Q, actor: str, now: datetime, **said: Any) -> int:
    """All at once, then the first few accounts; doing it again also tries again what is stuck. How many it ended."""
    active = Lease.objects.filter(which, state=State.ACTIVE)
    ids = list(active.values_list("id", flat=True)[: taking_back.FIRST])
    ended = lifecycle.end_all(which, actor, now, **said)
    lifecycle.retry_now(which, now)
    taking_back.take_back_first(ids)
    return ended


def find_whose(by: str, unverified_id: str) -> Whose:
    """Raises Http404."""
    if by == "all":
        return Whose("every lease of every agent")
    if by not in BY:
        raise Http404
    model, column, name = BY[by]
    try:
        found = model._default_manager.filter(pk=unverified_id).first()
    except (ValueError, ValidationError) as error:
        raise Http404 from error
    if found is None:
        raise Http404
    return Whose(f"every lease of the {by} {found}", Q(**{column: found}), {by: name(found)})


class ReasonForm(forms.Form):
    reason = forms.CharField(
        max_length=200, min_length=10, strip=True, widget=forms.TextInput(attrs={"class": "vTextField"}),
        help_text="Why nobody needs to take this account back any more. It stays on the record.",
    )  # fmt: skip


@require_http_methods(["GET", "POST"])
def forget_view(request: HttpRequest, lease_id: UUID) -> HttpResponse:
    """A superuser alone gives an account up, with a reason: where the system is gone for good."""
    if not (request.user.is_active and getattr(request.user, "is_superuser", False)):
        raise PermissionDenied
    lease = get_object_or_404(Lease.objects.select_related("agent", "role", "backend"), pk=lease_id, state__in=ENDING)
    form = ReasonForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        lifecycle.forget(lease, form.cleaned_data["reason"], f"user:{request.user.pk}", timezone.now())
        return redirect("admin:credentials_lease_change", lease.pk)
    context = {**admin.site.each_context(request), "title": f"Forget {lease}", "lease": lease, "form": form}
    return render(request, "admin/forget_lease.html", context)


@require_http_methods(["GET", "POST"])
def end_view(request: HttpRequest, by: str = "all", unverified_id: str = "") -> HttpResponse:
    """GET shows what is live, again every two seconds while accounts are being taken back; POST ends it."""
    if not request.user.has_perm("credentials.change_lease"):
        raise PermissionDenied
    whose = find_whose(by, unverified_id)
    if request.method == "POST":
        end(whose.which, f"user:{request.user.pk}", timezone.now(), **whose.said)
        return redirect(request.path)
    states = Lease.objects.filter(whose.which).exclude(state__in=FINISHED).order_by()
    left = dict(states.values_list("state").annotate(Count("id")))
    stuck = Lease.objects.filter(whose.which, state__in=ENDING).exclude(problem="").order_by("-attempts")
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": f"End {whose.words}",
        "left": [(State(state).value, left[state]) for state in State if state in left],
        "problems": [(one.account_name, one.backend.name, one.problem) for one in stuck.select_related("backend")[:5]],
        "is_live": any(state not in ENDING for state in left),
        "is_done": not left,
        "forgotten": Lease.objects.filter(whose.which, state=State.FORGOTTEN).count(),
    }
    return render(request, "admin/end_leases.html", context)
