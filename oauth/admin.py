"""Grants, uses and signing keys, to be read. django-oauth-toolkit's own tables are not in use yet."""

from django.contrib import admin

from foundation.admin import ReadOnly
from oauth.models import AccessToken, AuthorizationCode, Grant, IDToken, RefreshToken, SigningKey, Use

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
class GrantAdmin(ReadOnly):
    list_display = ("id", "agent", "user", "resource", "uses_left", "created_at", "expires_at", "revoked_at")
    list_filter = ("agent", "resource")
    search_fields = ("id", "user__email", "agent__client_id", "operation_digest")
    list_select_related = ("agent", "user", "resource")
    inlines = (UseInline,)


@admin.register(SigningKey)
class SigningKeyAdmin(ReadOnly):
    list_display = ("kid", "algorithm", "created_at", "active_at", "withdrawn_at")
    fields = ("kid", "algorithm", "public_jwk", "created_at", "active_at", "withdrawn_at")
