"""The administration: Django's own, with our sign-in in front of it."""

from typing import Any, NoReturn

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import path, reverse
from django.utils.http import urlencode

from accounts.views import logout, safe_next


class CountersignAdminSite(admin.AdminSite):
    site_header = "Countersign administration"
    site_title = "Countersign"
    index_title = "Administration"

    def get_urls(self) -> list[Any]:
        from authserver.killing import kill_view  # here: it needs every app to be loaded

        kill = path("clients/agent/<int:agent_id>/stop/", self.admin_view(kill_view), name="kill-agent")
        return [kill, *super().get_urls()]

    def login(self, request: HttpRequest, extra_context: object = None) -> HttpResponse:
        """Where Django sends whoever may not see a page. People sign in in one place, where guessing is locked out."""
        wanted = safe_next(request, reverse("admin:index"))
        if self.has_permission(request):
            return redirect(wanted)
        if request.user.is_authenticated:
            raise PermissionDenied  # signing in again as the same person would lead here again
        return redirect(f"{reverse('login')}?{urlencode({'next': wanted})}")

    def logout(self, request: HttpRequest, extra_context: object = None) -> HttpResponse:  # type: ignore[override]
        return logout(request)

    def password_change(self, request: HttpRequest, extra_context: object = None) -> NoReturn:
        """A new password comes with an invitation, which ends the old sessions and is on the record."""
        raise Http404
