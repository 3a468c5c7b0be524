"""Leases and recoveries in the administration."""

import json
from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import Q
from django.http import HttpRequest
from django.urls import path
from django.utils import timezone
from django.utils.html import format_html

from audit.exports import ExportingList
from credentials.admin.preflighted import end_leases_of
from credentials.backends import recovery
from credentials.leases import bulk_revocation, lifecycle
from credentials.leases.lifecycle.audit_facts import EndReason
from credentials.leases.states import ENDING_STATES
from credentials.models import Backend, Lease, Recovery
from foundation.admin import ReadOnly
from foundation.list_filters import AgentFilter, TimeFilter, UserFilter


class EndReasonFilter(admin.SimpleListFilter):
    """Offers the declared reasons, because DISTINCT would read all leases."""

    title = "reason of the end"
    parameter_name = "end_reason"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(reason.value, reason.value) for reason in EndReason]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.filter(end_reason=self.value()) if self.value() else queryset


class OverdueFilter(admin.SimpleListFilter):
    """Leases whose accounts should be gone (LeaseQuerySet.overdue)."""

    title = "overdue"
    parameter_name = "overdue"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Yes")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.overdue(timezone.now()) if self.value() == "yes" else queryset


@admin.register(Lease)
class LeaseAdmin(ExportingList, ReadOnly):
    change_list_template = "admin/credentials/lease/change_list.html"
    purpose = "A lease is one account that an agent has for minutes. Leases appear when agents request them."
    list_display = ("created_at", "role", "agent", "user", "state", "expires_at", "overdue", "attempts", "problem")
    list_filter = (TimeFilter, AgentFilter, UserFilter, "state", OverdueFilter, "backend", "role", EndReasonFilter)
    linked_columns = ("agent", "user", "grant", "end_reason")
    list_select_related = ("role", "agent", "user")
    search_help_text = (
        "A user's e-mail address, an agent's name, or the beginning of either; the exact name of an account; or the "
        "exact id of an agent, a user, a lease or a grant."
    )
    id_columns = ("id", "grant_id")
    ordering = ("-created_at", "-id")
    exported_columns: ClassVar[dict[str, str]] = {
        "id": "id", "created_at": "created_at", "backend": "backend__name", "role": "role__name",
        "client_id": "agent__client_id", "agent": "agent__name", "user_id": "user_id", "email": "user__email",
        "account_name": "account_name", "purpose": "purpose", "state": "state", "issued_at": "issued_at",
        "expires_at": "expires_at", "ended_at": "ended_at", "end_reason": "end_reason", "ended_by": "ended_by",
        "revoked_at": "revoked_at", "attempts": "attempts", "problem": "problem", "grant_id": "grant_id",
        "request_id": "request_id", "operation_digest": "operation_digest",
    }  # fmt: skip
    actions = ("end_now", "try_again", *ExportingList.actions)
    readonly_fields = ("frozen", "overdue", "revocable")
    exclude = ("settings", "wrap_digest", "idempotency_digest")

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(bulk_revocation.end_view)
        return [
            path("end/", view, name="end-leases"),
            path("end/<slug:by>/<str:unverified_id>/", view, name="end-leases-by"),
            path(
                "<uuid:lease_id>/abandon/",
                self.admin_site.admin_view(bulk_revocation.abandon_view),
                name="abandon-lease",
            ),
            *super().get_urls(),
        ]

    def find(self, request: HttpRequest, term: str) -> list[Q]:
        """The unique index of account names begins with the backend."""
        backends_of_all = list(Backend.objects.values_list("pk", flat=True))
        return [*super().find(request, term), Q(backend_id__in=backends_of_all, account_name=term)]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        may_end = self.has_change_permission(request)
        return super().changelist_view(request, {**(extra_context or {}), "may_end": may_end})

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Permits the actions. The fields of a lease cannot be edited."""
        return obj is None and super(ReadOnly, self).has_change_permission(request, obj)

    @admin.display(description="overdue")
    def overdue(self, obj: Lease) -> str:
        if obj.state not in ENDING_STATES or obj.ended_at is None:
            return "-"
        return f"{(timezone.now() - obj.ended_at).total_seconds():.0f} s"

    @admin.display(description="can be revoked", boolean=True)
    def revocable(self, obj: Lease) -> bool | None:
        return obj.backend.is_revocable

    @admin.display(description="role's settings at the request")
    def frozen(self, obj: Lease) -> str:
        return format_html("<pre>{}</pre>", json.dumps(obj.settings, indent=2))

    @admin.action(description="End now", permissions=["change"])
    def end_now(self, request: HttpRequest, queryset: Any) -> None:
        ids = [str(one) for one in queryset.values_list("id", flat=True)]
        ended = end_leases_of(request, Q(pk__in=ids), timezone.now())
        self.message_user(request, f"{ended} leases ended. The state “revoked” confirms that an account is gone.")

    @admin.action(description="Retry the revocation now", permissions=["change"])
    def try_again(self, request: HttpRequest, queryset: Any) -> None:
        ids = list(queryset.values_list("id", flat=True))
        count = lifecycle.retry_now(Q(pk__in=ids), timezone.now())
        self.message_user(request, f"Countersign retries {count} leases within a second.")


@admin.register(Recovery)
class RecoveryAdmin(ReadOnly):
    """Read-only: `manage.py recovery` starts, reports and ends a recovery."""

    purpose = (
        "A recovery is recorded after the database was restored from a backup (manage.py recovery). An "
        "empty list is what you want."
    )
    list_display = ("started_at", "started_by", "ended_at", "ended_by")
    linked_columns = ("ended_at",)
    actions = ("end_recovery",)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return obj is None and request.user.is_superuser

    @admin.action(description="End the recovery: Countersign revokes everything that is due", permissions=["change"])
    def end_recovery(self, request: HttpRequest, queryset: Any) -> None:
        ended = recovery.end(f"user:{request.user.pk}", timezone.now())
        self.message_user(request, "Revocation continues." if ended else "The recovery had already ended.")
