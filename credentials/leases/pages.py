"""A user's own leases on /activity: lists the live ones and ends them."""

from datetime import datetime
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.utils import timezone
from django.views.decorators.http import require_POST

from accounts import sessions
from credentials.leases import lifecycle, revocation
from credentials.leases.lifecycle import EndReason
from credentials.leases.states import FINAL_STATES
from credentials.models import Lease


def own_leases(request: HttpRequest, _now: datetime) -> str:
    """The leases that are not confirmed as gone; an empty string if there are none."""
    leases = (
        Lease.objects.filter(user=request.user.pk)
        .exclude(state__in=FINAL_STATES)
        .select_related("agent", "role__operation_type__current", "backend")[:100]
    )
    return render_to_string("credentials/own_leases.html", {"leases": leases}, request) if leases else ""


@login_required
@require_POST
def end_lease(request: HttpRequest, lease_id: UUID) -> HttpResponse:
    """Ends the lease at once. Another user's lease is unknown."""
    user = sessions.signed_in_user(request)
    lease = Lease.objects.select_related("agent", "role").filter(pk=lease_id, user=user).first()
    if user is None or lease is None:
        raise Http404
    lifecycle.end(lease, EndReason.USER, f"user:{user.id}", timezone.now())
    revocation.revoke_now(lease.id)
    return redirect("activity")
