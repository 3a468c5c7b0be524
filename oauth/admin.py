"""Read-only pages for grants, uses and signing keys.

django-oauth-toolkit's tables hold codes and refresh tokens and are not shown.
"""

from datetime import datetime
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import URLPattern, path
from django.utils import timezone

from audit.exports import ExportingList
from foundation.admin import ReadOnly
from foundation.list_filters import AgentFilter, TimeFilter, UserFilter
from oauth.grants import grant_tree
from oauth.models import AccessToken, AuthorizationCode, Grant, IDToken, RefreshToken, SigningKey, Use
from oauth.tokens import signing_keys

admin.site.unregister([AccessToken, AuthorizationCode, IDToken, RefreshToken])


class UseInline(admin.TabularInline[Use, Grant]):
    model = Use
    fields = ("id", "at", "operation_digest", "uses_left")
    readonly_fields = fields
    can_delete = False
    extra = 0

    def has_add_permission(self, request: object, obj: object = None) -> bool:
        return False


@admin.register(Grant)
class GrantAdmin(ExportingList, ReadOnly):
    purpose = (
        "A grant is what a user or an administrator allowed one agent. Grants appear when users approve "
        "requests or give consent."
    )
    list_display = ("id", "agent", "user", "resource", "uses_left", "created_at", "expires_at", "revoked_at")
    list_filter = (TimeFilter, AgentFilter, UserFilter, "resource")
    linked_columns = ("agent", "user")
    search_help_text = (
        "A user's e-mail address, an agent's name, or the beginning of either; or the exact id of an agent, a user, a "
        "grant or a request."
    )
    id_columns = ("id", "request_id")
    list_select_related = ("agent", "user", "resource")
    ordering = ("-created_at", "-id")
    exported_columns: ClassVar[dict[str, str]] = {
        "id": "id", "created_at": "created_at", "expires_at": "expires_at", "revoked_at": "revoked_at",
        "client_id": "agent__client_id", "agent": "agent__name", "user_id": "user_id", "email": "user__email",
        "resource": "resource__identifier", "scopes": "scopes", "authorization_details": "authorization_details",
        "operation_digest": "operation_digest", "uses_left": "uses_left", "request_id": "request_id",
    }  # fmt: skip
    inlines = (UseInline,)
    actions = ("end", *ExportingList.actions)
    change_form_template = "admin/oauth/grant/change_form.html"

    def has_end_permission(self, request: HttpRequest) -> bool:
        """An administrator who may suspend an agent may also revoke what was issued to it."""
        return request.user.has_perm("clients.suspend_agent")

    @admin.action(description="Revoke: the grant and everything issued under it stops working", permissions=["end"])
    def end(self, request: HttpRequest, queryset: Any) -> None:
        actor, now = f"user:{request.user.pk}", timezone.now()
        count = sum(grant_tree.end_grant(grant, actor, now) for grant in queryset.select_related("agent", "user"))
        self.message_user(request, f"{count} grants revoked.")

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        grant = self.get_object(request, unquote(object_id))
        context: dict[str, Any] = {"branch_lists": grant_tree.tree_of(grant, timezone.now()) if grant else []}
        context["may_end"] = bool(grant and self.has_end_permission(request))
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **context})

    def get_urls(self) -> list[URLPattern]:
        end_branch = self.admin_site.admin_view(self.end_branch)
        return [path("<uuid:grant_id>/end/", end_branch, name="oauth_grant_end_branch"), *super().get_urls()]

    def end_branch(self, request: HttpRequest, grant_id: Any) -> HttpResponse:
        """POST with `kind` and `branch` ends one branch; without them it ends the whole grant."""
        if request.method != "POST" or not self.has_end_permission(request):
            raise PermissionDenied
        grant = get_object_or_404(Grant.objects.select_related("agent", "user"), pk=grant_id)
        kind, branch = request.POST.get("kind"), request.POST.get("branch", "")
        actor, now = f"user:{request.user.pk}", timezone.now()
        ended = (
            grant_tree.end_branch(grant, kind, branch, actor, now) if kind else grant_tree.end_grant(grant, actor, now)
        )
        self.message_user(request, "Revoked." if ended else "It had already ended.")
        return redirect("admin:oauth_grant_change", grant_id)


@admin.register(SigningKey)
class SigningKeyAdmin(ReadOnly):
    purpose = "Countersign signs tokens with these keys. `manage.py prepare` makes the first."
    list_display = ("kid", "algorithm", "state", "signs_from", "listed_until")
    linked_columns = ("withdrawn_at", "active_at")
    fields = ("kid", "algorithm", "state", "public_jwk", "created_at", "signs_from", "listed_until")
    readonly_fields = ("state", "signs_from", "listed_until")

    @admin.display(description="state")
    def state(self, key: SigningKey) -> str:
        return signing_keys.state_in_words(key, timezone.now())

    @admin.display(description="signs from", ordering="active_at")
    def signs_from(self, key: SigningKey) -> datetime:
        return key.active_at

    @admin.display(description="in the key list until", ordering="withdrawn_at", empty_value="its successor is created")
    def listed_until(self, key: SigningKey) -> datetime | None:
        return key.withdrawn_at
