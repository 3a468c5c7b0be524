"""An administrator ends leases: of an agent, a user, a grant, a role, a backend, or all.

It is one action and one event. The page reports completion only when reads confirm that every
account is gone.
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
from credentials.leases import lifecycle, revocation
from credentials.leases.states import ENDING_STATES, FINAL_STATES, State
from credentials.models import Backend, Lease, Role
from oauth.models import Grant


@dataclass(frozen=True)
class LeaseSelection:
    """Which leases: in words, as a condition, and as facts of the event."""

    description: str
    which: Q = field(default_factory=Q)
    facts: dict[str, Any] = field(default_factory=lambda: {"all": True})


# The selections by which leases can be ended: the model, the lease's column, and the fact in the
# event.
BY: dict[str, tuple[type[Model], str, Callable[[Any], str]]] = {
    "agent": (Agent, "agent", lambda agent: str(agent.name)),
    "user": (User, "user", lambda user: str(user.id)),
    "grant": (Grant, "grant", lambda grant: str(grant.id)),
    "role": (Role, "role", lambda role: str(role.name)),
    "backend": (Backend, "backend", lambda backend: str(backend.name)),
}


def end(which: Q, actor: str, now: datetime, **facts: Any) -> int:
    """Ends the selected leases at once and revokes the first few accounts.

    Returns how many it ended.

    Another call also retries stuck leases.
    """
    active = Lease.objects.filter(which, state=State.ACTIVE)
    ids = list(active.values_list("id", flat=True)[: revocation.MAX_REVOKED_INLINE])
    ended = lifecycle.end_all(which, actor, now, **facts)
    lifecycle.retry_now(which, now)
    revocation.revoke_first(ids)
    return ended


def find_selection(by: str, unverified_id: str) -> LeaseSelection:
    """The selection that a URL names. Raises Http404."""
    if by == "all":
        return LeaseSelection("every lease of every agent")
    if by not in BY:
        raise Http404
    model, column, name = BY[by]
    try:
        found = model._default_manager.filter(pk=unverified_id).first()
    except (ValueError, ValidationError) as error:
        raise Http404 from error
    if found is None:
        raise Http404
    return LeaseSelection(f"every lease of the {by} {found}", Q(**{column: found}), {by: name(found)})


class ReasonForm(forms.Form):
    reason = forms.CharField(
        max_length=200, min_length=10, strip=True, widget=forms.TextInput(attrs={"class": "vTextField"}),
        help_text="Why Countersign need not revoke this account any more. The audit log keeps the reason.",
    )  # fmt: skip


@require_http_methods(["GET", "POST"])
def abandon_view(request: HttpRequest, lease_id: UUID) -> HttpResponse:
    """A superuser abandons a lease, with a reason, because its backend is gone for good."""
    if not (request.user.is_active and getattr(request.user, "is_superuser", False)):
        raise PermissionDenied
    lease = get_object_or_404(
        Lease.objects.select_related("agent", "role", "backend"), pk=lease_id, state__in=ENDING_STATES
    )
    form = ReasonForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        lifecycle.abandon(lease, form.cleaned_data["reason"], f"user:{request.user.pk}", timezone.now())
        return redirect("admin:credentials_lease_change", lease.pk)
    context = {**admin.site.each_context(request), "title": f"Abandon {lease}", "lease": lease, "form": form}
    return render(request, "admin/abandon_lease.html", context)


@require_http_methods(["GET", "POST"])
def end_view(request: HttpRequest, by: str = "all", unverified_id: str = "") -> HttpResponse:
    """GET shows the live leases and reloads every two seconds while accounts are being revoked.

    POST ends them.
    """
    if not request.user.has_perm("credentials.change_lease"):
        raise PermissionDenied
    selection = find_selection(by, unverified_id)
    if request.method == "POST":
        end(selection.which, f"user:{request.user.pk}", timezone.now(), **selection.facts)
        return redirect(request.path)
    states = Lease.objects.filter(selection.which).exclude(state__in=FINAL_STATES).order_by()
    left = dict(states.values_list("state").annotate(Count("id")))
    stuck = Lease.objects.filter(selection.which, state__in=ENDING_STATES).exclude(problem="").order_by("-attempts")
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": f"End {selection.description}",
        "left": [(State(state).value, left[state]) for state in State if state in left],
        "problems": [(one.account_name, one.backend.name, one.problem) for one in stuck.select_related("backend")[:5]],
        "is_live": any(state not in ENDING_STATES for state in left),
        "is_done": not left,
        "abandoned": Lease.objects.filter(selection.which, state=State.ABANDONED).count(),
    }
    return render(request, "admin/end_leases.html", context)
