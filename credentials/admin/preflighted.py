"""What the pages of backends and roles share: a choice first, and a preflight after saving."""

from datetime import datetime
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from audit.record import About
from credentials.backends import preflight
from credentials.leases import bulk_revocation
from foundation.admin import NoDeletion


def about_administrator(request: HttpRequest) -> About:
    return About(f"user:{request.user.pk}")


def end_leases_of(request: HttpRequest, which: Q, now: datetime, **facts: Any) -> int:
    return bulk_revocation.end(which, f"user:{request.user.pk}", now, **facts)


def choose_first(
    model_admin: Any, request: HttpRequest, name: str, choices: list[tuple[str, str]], question: str
) -> HttpResponse:
    """A page of links to the form, one for each choice. The form's inputs depend on the choice."""
    if not model_admin.has_add_permission(request):
        raise PermissionDenied
    query = request.GET.copy()
    links = []
    for value, title in choices:
        query[name] = value
        links.append((f"?{query.urlencode()}", title))
    context = {
        **model_admin.admin_site.each_context(request),
        "title": f"Add {model_admin.model._meta.verbose_name}", "opts": model_admin.model._meta,
        "question": question, "links": links,
    }  # fmt: skip
    return render(request, "admin/choose_first.html", context)


class PreflightAfterSaving(NoDeletion):
    """Runs the preflight after the commit of the saved object: the preflight calls the backend,
    which must not happen inside a transaction.
    """

    def changeform_view(
        self, request: HttpRequest, object_id: Any = None, form_url: str = "", extra_context: Any = None
    ) -> Any:
        response = super().changeform_view(request, object_id, form_url, extra_context)
        if saved := getattr(request, "was_saved", None):
            request.was_saved = None  # type: ignore[attr-defined]
            self.run_preflight(request, saved)
        return response

    def has_end_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("credentials.change_lease")

    def message_user(
        self, request: HttpRequest, message: Any, level: int | str = messages.INFO, *args: Any, **kwargs: Any
    ) -> None:
        """Not in green while the preflight has yet to say whether the saved object works."""
        waits = level == messages.SUCCESS and getattr(request, "was_saved", None)
        super().message_user(request, message, messages.INFO if waits else level, *args, **kwargs)

    def run_preflight(self, request: HttpRequest, saved: Any) -> None:
        raise NotImplementedError

    def display_report(self, request: HttpRequest, who: Any, report: preflight.Report) -> None:
        if not report.passed:
            self.message_user(request, f"{who} issues no leases. {report.failure}", messages.ERROR)
            return
        done = "created, used and revoked" if report.used else "created and revoked, but not used: no role is active"
        more = (
            f" The administrator account has more rights than needed: {' '.join(report.excess)}"
            if report.excess
            else ""
        )
        level = messages.WARNING if report.excess else messages.SUCCESS
        self.message_user(request, f"{who}: a probe account was {done}.{more}", level)
        for text in [*report.left_behind, *report.can_leave_behind]:
            self.message_user(request, text, messages.WARNING)
        for role, problem in report.deactivated.items():
            self.message_user(request, f"The role {role} was deactivated: {problem}", messages.ERROR)
