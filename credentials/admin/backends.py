"""Backends in the administration."""

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Min, Q
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html

from credentials import settings_inputs
from credentials.admin.preflighted import PreflightAfterSaving, about_administrator, choose_first, end_leases_of
from credentials.backends import connection_rungs, preflight, rotation
from credentials.backends import lifecycle as backends
from credentials.engines import engine_names
from credentials.leases import lifecycle
from credentials.leases.states import ENDING_STATES, FINAL_STATES
from credentials.models import Backend, engine_choices

CHOOSE_ENGINE = "Which kind of system do you connect?"


class BackendForm(forms.ModelForm[Backend]):
    secret = forms.CharField(
        widget=forms.PasswordInput(render_value=False),
        required=False,
        label="Administrator's secret",
        help_text="Countersign encrypts the secret and never shows it. Empty: keep the stored secret.",
    )

    is_same_system = forms.BooleanField(
        required=False,
        label="The same system",
        help_text="Required while leases are live: confirms that the new settings lead to the same system.",
    )

    class Meta:
        model = Backend
        fields = ("name", "engine", "settings", "max_leases")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        chosen = self.instance.engine or self.data.get("engine") or self.initial.get("engine", "")
        if chosen in engine_names():
            self.fields["settings"] = settings_inputs.settings_field(chosen, settings_inputs.BACKEND)
            self.fields["secret"].label = settings_inputs.secret_of(chosen).title
        if self.instance._state.adding:
            self.fields["secret"].help_text = "Countersign encrypts the secret and never shows it."
            if "engine" in self.fields and not self.is_bound:
                choice: Any = self.fields["engine"]
                choice.choices = [(name, title) for name, title in engine_choices() if name == chosen]

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        if (
            cleaned
            and "settings" in self.changed_data
            and not cleaned.get("is_same_system")
            and backends.has_live_leases(self.instance)
        ):
            self.add_error(
                "settings", "The backend has live leases. Drain it first, or confirm that this is the same system."
            )
        if cleaned and not cleaned.get("secret") and self.instance._state.adding:
            self.add_error("secret", "A new backend needs the secret of its administrator account.")
        return cleaned


class AnswersFilter(admin.SimpleListFilter):
    """Backends in service that do not answer (credentials/backends/breaker.py)."""

    title = "answers"
    parameter_name = "answers"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("no", "No")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.in_service().exclude(failing_since=None) if self.value() == "no" else queryset


@admin.register(Backend)
class BackendAdmin(PreflightAfterSaving):
    form = BackendForm
    purpose = (
        "A backend is a system for which Countersign makes accounts, such as a PostgreSQL server. You need its address "
        "and an account that may make accounts."
    )
    list_display = ("name", "engine", "status", "live", "oldest", "health", "preflight_at")
    list_filter = ("status", AnswersFilter, "engine")
    search_fields = ("name",)
    fields = (
        "name", "engine", "settings", "is_same_system", "secret", "max_leases", "status", "prefix", "report", "health",
        "orphans", "left_behind", "secret_changed_at",
    )  # fmt: skip
    readonly_fields = ("status", "prefix", "report", "health", "orphans", "left_behind", "secret_changed_at")
    actions = ("check_and_enable", "drain", "end_leases", "rotate", "try_again")
    change_form_template = "admin/credentials/backend/change_form.html"

    def get_urls(self) -> list[Any]:
        test = path("<uuid:pk>/test/", self.admin_site.admin_view(self.test_view), name="credentials_backend_test")
        return [test, *super().get_urls()]

    def test_view(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        """POST runs the preflight. The page of the backend then says how far it came."""
        backend = self.get_object(request, str(pk))
        if backend is None or request.method != "POST":
            raise Http404
        if not self.has_change_permission(request, backend):
            raise PermissionDenied
        preflight.check_backend(backend, about_administrator(request), timezone.now())
        return redirect(f"{reverse('admin:credentials_backend_change', args=[pk])}#test")

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> Any:
        """Asks for the engine first: each has other settings."""
        if request.method == "GET" and request.GET.get("engine") not in engine_names():
            return choose_first(self, request, "engine", engine_choices(), CHOOSE_ENGINE)
        return super().add_view(request, form_url, extra_context)

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        if backend := context.get("original"):
            context["rungs"] = connection_rungs.rungs_of(backend.preflight, backend.engine, backend.settings)
        return super().render_change_form(request, context, *args, **kwargs)

    def get_queryset(self, request: HttpRequest) -> Any:
        is_ending = Q(leases__state__in=ENDING_STATES)
        return (
            super()
            .get_queryset(request)
            .annotate(
                live_leases=Count("leases", filter=~Q(leases__state__in=FINAL_STATES)),
                oldest_ended=Min("leases__ended_at", filter=is_ending),
            )
        )

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """A new backend has no state yet, and no leases."""
        names = super().get_fields(request, obj)
        return names if obj else [name for name in names if name not in {*self.readonly_fields, "is_same_system"}]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return (*self.readonly_fields, "name", "engine") if obj else self.readonly_fields

    @admin.display(description="live leases", ordering="live_leases")
    def live(self, obj: Any) -> int:
        return int(obj.live_leases)

    @admin.display(description="oldest overdue", ordering="oldest_ended")
    def oldest(self, obj: Any) -> str:
        return f"{(timezone.now() - obj.oldest_ended).total_seconds():.0f} s" if obj.oldest_ended else "-"

    @admin.display(description="answers")
    def health(self, obj: Backend) -> str:
        if obj.failing_since is None:
            if obj.preflight_at is None:
                return "no call yet"
            # A backend that refuses our login does answer, but issues nothing.
            problem = preflight.first_problem(obj.preflight.get("steps", []))
            return f"yes, but its preflight failed: {problem}" if problem else "yes"
        return f"not since {obj.failing_since:%Y-%m-%d %H:%M:%S} UTC ({obj.failures} tries): {obj.problem}"

    @admin.display(description="preflight")
    def report(self, obj: Backend) -> str:
        lines = [
            f"{'✓' if step['ok'] else '✕'} {step['step']}{': ' if step['problem'] else ''}{step['problem']}"
            for step in obj.preflight.get("steps", [])
        ]
        deactivated = obj.preflight.get("deactivated", {}).items()
        lines += [f"✕ role {role}, which was deactivated: {problem}" for role, problem in deactivated]
        lines += [f"Unneeded right: {text}" for text in obj.preflight.get("excess", [])]
        lines += [f"Accounts can leave behind: {text}" for text in obj.preflight.get("can_leave_behind", [])]
        return format_html("<pre>{}</pre>", "\n".join(lines) or "not run yet")

    def save_model(self, request: HttpRequest, obj: Backend, form: Any, change: bool) -> None:
        secret = form.cleaned_data.get("secret")
        if backends.save_backend(obj, form.changed_data, secret, about_administrator(request), timezone.now()):
            request.was_saved = obj  # type: ignore[attr-defined]

    def run_preflight(self, request: HttpRequest, saved: Backend) -> None:
        self.display_report(
            request, saved, preflight.check_backend(saved, about_administrator(request), timezone.now())
        )

    @admin.action(description="Run the preflight, and enable the backend if it passes", permissions=["change"])
    def check_and_enable(self, request: HttpRequest, queryset: Any) -> None:
        for backend in queryset:
            backends.end_draining(backend)
            self.run_preflight(request, Backend.objects.get(pk=backend.pk))

    @admin.action(description="Drain: issue no more leases, let the live leases end", permissions=["change"])
    def drain(self, request: HttpRequest, queryset: Any) -> None:
        for backend in queryset:
            backends.drain(backend, about_administrator(request), timezone.now())
        self.message_user(
            request, "These backends issue no more leases. The column “live leases” shows when all have ended."
        )

    @admin.action(description="End every lease now", permissions=["end"])
    def end_leases(self, request: HttpRequest, queryset: Any) -> None:
        now = timezone.now()
        ended = sum(end_leases_of(request, Q(backend=backend), now, backend=backend.name) for backend in queryset)
        self.message_user(request, f"{ended} leases ended. The state “revoked” confirms that an account is gone.")

    @admin.action(
        description="Rotate the administrator secret to one that only Countersign knows", permissions=["change"]
    )
    def rotate(self, request: HttpRequest, queryset: Any) -> None:
        for backend in queryset:
            try:
                rotation.rotate(backend, about_administrator(request), timezone.now())
            except rotation.RotationFailed as error:
                self.message_user(request, f"{backend}: {error}", messages.ERROR)
            else:
                self.message_user(request, f"{backend}: the new secret logs in. Countersign deleted the old secret.")

    @admin.action(description="Retry the revocation of stuck and disabled leases now", permissions=["end"])
    def try_again(self, request: HttpRequest, queryset: Any) -> None:
        count = sum(lifecycle.retry_now(Q(backend=backend), timezone.now()) for backend in queryset)
        self.message_user(request, f"Countersign retries {count} leases within a second.")
