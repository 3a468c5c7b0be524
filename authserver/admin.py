"""The administration: Django's own, with our sign-in in front of it."""

from typing import Any, NoReturn

from django.contrib import admin
from django.contrib.admin.views.autocomplete import AutocompleteJsonView
from django.core.exceptions import PermissionDenied
from django.db import models
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import path, reverse
from django.utils.http import urlencode

from accounts.views import logout, safe_next


class Autocomplete(AutocompleteJsonView):
    def process_request(self, request: HttpRequest) -> Any:
        term, model_admin, source_field, to_field_name = super().process_request(request)
        if not isinstance(source_field, models.Field):
            raise PermissionDenied  # another model's field that points here: nothing is chosen by it
        return term, model_admin, source_field, to_field_name


class CountersignAdminSite(admin.AdminSite):
    site_header = "Countersign administration"
    site_title = "Countersign"
    index_title = "Administration"

    def get_urls(self) -> list[Any]:
        from authserver.killing import kill_view  # here: it needs every app to be loaded

        kill = path("clients/agent/<int:agent_id>/stop/", self.admin_view(kill_view), name="kill-agent")
        # No row of ours has a page of its own, and Django's redirect to one reads any id that it is given.
        return [kill, *(one for one in super().get_urls() if getattr(one, "name", None) != "view_on_site")]

    def autocomplete_view(self, request: HttpRequest) -> Any:
        return Autocomplete.as_view(admin_site=self)(request)

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
