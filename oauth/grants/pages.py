"""The user's pages for their own grants: list what belongs to each grant, and end any of it."""

from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from accounts import sessions
from accounts.models import User
from oauth.grants import grant_tree
from oauth.models import Grant


def _own(request: HttpRequest, grant_id: UUID) -> tuple[User, Grant]:
    """The signed-in user and their grant. Another user's grant is unknown."""
    user = sessions.signed_in_user(request)
    grants = Grant.objects.select_related("agent", "user", "resource").filter(user=user, pk=grant_id)
    grant = grants.first() if user else None
    if user is None or grant is None:
        raise Http404
    return user, grant


@never_cache
@login_required
@require_safe
def grant(request: HttpRequest, grant_id: UUID) -> HttpResponse:
    now = timezone.now()
    _, found = _own(request, grant_id)
    context = {
        "grant": found,
        "words": grant_tree.words_of(found),
        "is_alive": Grant.objects.alive(now).filter(pk=found.pk).exists(),
        "branch_lists": grant_tree.tree_of(found, now),
    }
    return render(request, "oauth/grant.html", context)


@login_required
@require_POST
def end_grant(request: HttpRequest, grant_id: UUID) -> HttpResponse:
    user, found = _own(request, grant_id)
    grant_tree.end_grant(found, f"user:{user.id}", timezone.now())
    return redirect("grant", grant_id=grant_id)


@login_required
@require_POST
def end_branch(request: HttpRequest, grant_id: UUID, kind: str, branch: str) -> HttpResponse:
    user, found = _own(request, grant_id)
    grant_tree.end_branch(found, kind, branch, f"user:{user.id}", timezone.now())
    return redirect("grant", grant_id=grant_id)
