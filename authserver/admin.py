"""The administration: Django's own, behind our sign-in."""

from typing import Any, NoReturn

from django.contrib import admin
from django.contrib.admin.views.autocomplete import AutocompleteJsonView
from django.core.exceptions import PermissionDenied
from django.db import models
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import path, reverse
from django.utils.http import urlencode

from accounts.pages import logout, safe_next


class Autocomplete(AutocompleteJsonView):
    def process_request(self, request: HttpRequest) -> Any:
        term, model_admin, source_field, to_field_name = super().process_request(request)
        if not isinstance(source_field, models.Field):
            raise PermissionDenied  # a field of another model that points here; it offers no choice
        return term, model_admin, source_field, to_field_name


class CountersignAdminSite(admin.AdminSite):
    site_header = "Countersign administration"
    site_title = "Countersign"
    index_title = "Administration"

    def get_urls(self) -> list[Any]:
        # imported here because they need every app to be loaded
        from authserver.kill_switch import kill_view
        from authserver.prompt_preview import preview_view

        kill = path("clients/agent/<int:agent_id>/stop/", self.admin_view(kill_view), name="kill-agent")
        preview = path("prompt-preview/<str:model>/", self.admin_view(preview_view), name="preview-prompt")
        # No model here has a public page, and Django's redirect to one reads any id that it is
        # given.
        return [kill, preview, *(one for one in super().get_urls() if getattr(one, "name", None) != "view_on_site")]

    def autocomplete_view(self, request: HttpRequest) -> Any:
        return Autocomplete.as_view(admin_site=self)(request)

    def login(self, request: HttpRequest, extra_context: object = None) -> HttpResponse:
        """Django redirects here if the user may not see a page.

        Users sign in at one place, which limits guessing.
        """
        next_url = safe_next(request, reverse("admin:index"))
        if self.has_permission(request):
            return redirect(next_url)
        if request.user.is_authenticated:
            raise PermissionDenied  # another sign-in as the same user would lead here again
        return redirect(f"{reverse('login')}?{urlencode({'next': next_url})}")

    def logout(self, request: HttpRequest, extra_context: object = None) -> HttpResponse:  # type: ignore[override]
        return logout(request)

    def password_change(self, request: HttpRequest, extra_context: object = None) -> NoReturn:
        """A password is changed by an invitation, which ends the old sessions and writes an event."""
        raise Http404
