"""A person's own grants: what hangs on each, and ending any of it."""

from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from accounts import sessions
from accounts.models import User
from oauth import tree
from oauth.models import Grant


def _own(request: HttpRequest, grant_id: UUID) -> tuple[User, Grant]:
    """Another person's grant is unknown."""
    person = sessions.person(request)
    grants = Grant.objects.select_related("agent", "user", "resource").filter(user=person, pk=grant_id)
    grant = grants.first() if person else None
    if person is None or grant is None:
        raise Http404
    return person, grant


@never_cache
@login_required
@require_safe
def grant(request: HttpRequest, grant_id: UUID) -> HttpResponse:
    now = timezone.now()
    _, found = _own(request, grant_id)
    context = {
        "grant": found,
        "words": tree.words_of(found),
        "is_alive": Grant.objects.alive(now).filter(pk=found.pk).exists(),
        "limbs": tree.tree_of(found, now),
    }
    return render(request, "oauth/grant.html", context)


@login_required
@require_POST
def end_grant(request: HttpRequest, grant_id: UUID) -> HttpResponse:
    person, found = _own(request, grant_id)
    tree.end_grant(found, f"user:{person.id}", timezone.now())
    return redirect("grant", grant_id=grant_id)


@login_required
@require_POST
def end_branch(request: HttpRequest, grant_id: UUID, kind: str, branch: str) -> HttpResponse:
    person, found = _own(request, grant_id)
    tree.end_branch(found, kind, branch, f"user:{person.id}", timezone.now())
    return redirect("grant", grant_id=grant_id)
