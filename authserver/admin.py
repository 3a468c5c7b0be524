"""The administration: Django's own, behind our sign-in."""

from typing import Any, NoReturn, cast

from django.contrib import admin
from django.contrib.admin.views.autocomplete import AutocompleteJsonView
from django.core.exceptions import PermissionDenied
from django.db import models
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.text import slugify

from accounts.models import User
from accounts.pages import logout, safe_next
from authserver.staff_access import MODELS


class Autocomplete(AutocompleteJsonView):
    def process_request(self, request: HttpRequest) -> Any:
        term, model_admin, source_field, to_field_name = super().process_request(request)
        if not isinstance(source_field, models.Field):
            raise PermissionDenied  # a field of another model that points here; it offers no choice
        return term, model_admin, source_field, to_field_name


def group_lists(apps: list[Any]) -> list[Any]:
    """Django's list of apps, with the groups and the names of authserver/staff_access.py."""
    left = {model["model"]._meta.label_lower: model for app in apps for model in app["models"]}
    groups: dict[str, list[Any]] = {access.group: [] for access in MODELS}
    for access in MODELS:
        if found := left.pop(access.model, None):
            groups[access.group].append({**found, "name": access.title})
    groups["System"] += left.values()
    return [
        {"name": name, "app_label": slugify(name), "app_url": "", "has_module_perms": True, "models": models}
        for name, models in groups.items()
        if models
    ]


class CountersignAdminSite(admin.AdminSite):
    site_header = "Countersign administration"
    site_title = "Countersign"
    index_title = "Administration"

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        from authserver.home.page import gather  # imported here because it needs every app to be loaded

        return super().index(request, {**gather(cast(User, request.user), timezone.now()), **(extra_context or {})})

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """The lists that this member of staff may see, grouped by what they are for and not by Django's apps."""
        apps = super().get_app_list(request, app_label)
        return apps if app_label else group_lists(apps)

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
