"""A person's own leases, on /activity: what works in their name now, and ending it."""

from datetime import datetime
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.utils import timezone
from django.views.decorators.http import require_POST

from accounts import sessions
from credentials import lifecycle, taking_back
from credentials.lifecycle import Why
from credentials.models import Lease
from credentials.states import FINISHED


def own_leases(request: HttpRequest, now: datetime) -> str:
    """Those that are not yet confirmed gone; nothing where there are none."""
    leases = (
        Lease.objects.filter(user=request.user.pk)
        .exclude(state__in=FINISHED)
        .select_related("agent", "role__operation_type__current", "backend")[:100]
    )
    return render_to_string("credentials/own_leases.html", {"leases": leases}, request) if leases else ""


@login_required
@require_POST
def end_lease(request: HttpRequest, lease_id: UUID) -> HttpResponse:
    """Ends it at once. Somebody else's is unknown."""
    person = sessions.person(request)
    lease = Lease.objects.select_related("agent", "role").filter(pk=lease_id, user=person).first()
    if person is None or lease is None:
        raise Http404
    lifecycle.end(lease, Why.PERSON, f"user:{person.id}", timezone.now())
    taking_back.take_back_now(lease.id)
    return redirect("activity")
