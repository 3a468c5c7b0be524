"""Backends, roles and leases in the administration."""

import json
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Count, Min, Q
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import escape, format_html

from audit.exports import ExportingList
from audit.record import About
from credentials import settings_inputs
from credentials.backends import connection_rungs, preflight, recovery, roles, rotation
from credentials.backends import lifecycle as backends
from credentials.engines import engine_names
from credentials.leases import bulk_revocation, lifecycle
from credentials.leases.lifecycle.audit_facts import EndReason
from credentials.leases.states import ENDING_STATES, FINAL_STATES
from credentials.models import Backend, Lease, Recovery, Role, engine_choices
from foundation.admin import NoDeletion, ReadOnly
from foundation.list_filters import AgentFilter, TimeFilter, UserFilter
from operations.examples import Manner
from operations.models import OperationTypeVersion


def _about(request: HttpRequest) -> About:
    return About(f"user:{request.user.pk}")


def _end(request: HttpRequest, which: Q, now: datetime, **facts: Any) -> int:
    return bulk_revocation.end(which, f"user:{request.user.pk}", now, **facts)


CHOOSE_ENGINE = "Which kind of system do you connect?"
CHOOSE_BACKEND = "From which backend does the role issue accounts?"


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
        preflight.check_backend(backend, _about(request), timezone.now())
        return redirect(f"{reverse('admin:credentials_backend_change', args=[pk])}#test")

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> Any:
        """Asks for the engine first: each has other settings."""
        if request.method == "GET" and request.GET.get("engine") not in engine_names():
            return choose_first(self, request, "engine", engine_choices(), CHOOSE_ENGINE)
        return super().add_view(request, form_url, extra_context)

    def change_view(self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None) -> Any:
        backend = self.get_object(request, unquote(object_id))
        found = connection_rungs.rungs_of(backend.preflight, backend.settings) if backend else []
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), "rungs": found})

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
        if backends.save_backend(obj, form.changed_data, secret, _about(request), timezone.now()):
            request.was_saved = obj  # type: ignore[attr-defined]

    def run_preflight(self, request: HttpRequest, saved: Backend) -> None:
        self.display_report(request, saved, preflight.check_backend(saved, _about(request), timezone.now()))

    @admin.action(description="Run the preflight, and enable the backend if it passes", permissions=["change"])
    def check_and_enable(self, request: HttpRequest, queryset: Any) -> None:
        for backend in queryset:
            backends.end_draining(backend)
            self.run_preflight(request, Backend.objects.get(pk=backend.pk))

    @admin.action(description="Drain: issue no more leases, let the live leases end", permissions=["change"])
    def drain(self, request: HttpRequest, queryset: Any) -> None:
        for backend in queryset:
            backends.drain(backend, _about(request), timezone.now())
        self.message_user(
            request, "These backends issue no more leases. The column “live leases” shows when all have ended."
        )

    @admin.action(description="End every lease now", permissions=["end"])
    def end_leases(self, request: HttpRequest, queryset: Any) -> None:
        now = timezone.now()
        ended = sum(_end(request, Q(backend=backend), now, backend=backend.name) for backend in queryset)
        self.message_user(request, f"{ended} leases ended. The state “revoked” confirms that an account is gone.")

    @admin.action(
        description="Rotate the administrator secret to one that only Countersign knows", permissions=["change"]
    )
    def rotate(self, request: HttpRequest, queryset: Any) -> None:
        for backend in queryset:
            try:
                rotation.rotate(backend, _about(request), timezone.now())
            except rotation.RotationFailed as error:
                self.message_user(request, f"{backend}: {error}", messages.ERROR)
            else:
                self.message_user(request, f"{backend}: the new secret logs in. Countersign deleted the old secret.")

    @admin.action(description="Retry the revocation of stuck and disabled leases now", permissions=["end"])
    def try_again(self, request: HttpRequest, queryset: Any) -> None:
        count = sum(lifecycle.retry_now(Q(backend=backend), timezone.now()) for backend in queryset)
        self.message_user(request, f"Countersign retries {count} leases within a second.")


class RoleForm(forms.ModelForm[Role]):
    """A role together with its operation type.

    A change of the operation type creates its next version.
    """

    title = OperationTypeVersion._meta.get_field("title").formfield()
    summary = OperationTypeVersion._meta.get_field("summary").formfield(
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="The text of the prompt that the user approves: “Read the orders database”.",
    )
    risk = OperationTypeVersion._meta.get_field("risk").formfield()
    assurance = OperationTypeVersion._meta.get_field("assurance").formfield()
    uses = OperationTypeVersion._meta.get_field("uses").formfield(
        initial=1, help_text="How many leases one approval allows."
    )

    class Meta:
        model = Role
        fields = (
            "backend", "name", "settings", "default_lifetime", "max_lifetime", "max_leases", "max_per_agent",
            "max_per_user", "is_active",
        )  # fmt: skip

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        current = self.instance.operation_type.current if not self.instance._state.adding else None
        if current:
            self.initial.update({name: getattr(current, name) for name in roles.MEANING_FIELDS})
        if backend := self._backend():
            self.fields["settings"] = settings_inputs.settings_field(backend.engine, settings_inputs.ROLE)
            if names := backend.preflight.get("grantable"):
                # Django's page takes a help text as HTML, and the backend chose these names.
                listed = escape(", ".join(map(str, names)))
                self.fields["settings"].help_text = f"Its last test found these groups: {listed}."
        for field in self.fields.values():
            # Changes are detected against the page as it was shown, because a page may stay open
            # for long.
            field.show_hidden_initial = True

    def _backend(self) -> Backend | None:
        """The backend of the role, or the chosen one."""
        if not self.instance._state.adding:
            return self.instance.backend
        chosen = self.data.get("backend") or self.initial.get("backend")
        try:
            return Backend.objects.filter(pk=str(chosen)).first() if chosen else None
        except ValidationError:
            return None

    may_change_meaning = True

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        if not self.may_change_meaning:
            # It was granted to agents as it is, and decides whether and what users are asked.
            for changed in set(self.changed_data) & set(roles.MEANING_FIELDS):
                self.add_error(changed, "Only who may change operation types changes this once the role exists.")
        name = cleaned.get("name") if cleaned and self.instance._state.adding else None
        if name and (problem := roles.problem_with_new_name(name)):
            self.add_error("name", problem)
        if cleaned and not self.errors:
            roles.check_meaning({name: cleaned[name] for name in roles.MEANING_FIELDS}, cleaned["max_lifetime"])
        return cleaned


@admin.register(Role)
class RoleAdmin(PreflightAfterSaving):
    form = RoleForm
    purpose = (
        "A role says what an account on a backend may do, for how long, and what the user reads before it is made. "
        "Add a backend first."
    )
    list_display = ("name", "backend", "risk", "default_lifetime", "max_lifetime", "is_active", "live")
    list_filter = ("backend", "is_active")
    list_select_related = ("backend", "operation_type__current")
    search_fields = ("name",)
    actions = ("end_leases",)
    change_form_template = "admin/credentials/role/change_form.html"
    fieldsets = (
        (None, {"fields": ("backend", "name", "is_active")}),
        ("What the account may do", {"fields": ("settings", "statements")}),
        ("What the user reads", {"fields": ("title", "summary")}),
        ("Risk and limits of an approval", {"fields": ("risk", "assurance", "uses")}),
        ("Lifetimes and quotas", {
            "fields": ("default_lifetime", "max_lifetime", "max_leases", "max_per_agent", "max_per_user"),
        }),
    )  # fmt: skip

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> Any:
        """Asks for the backend first: its engine decides which rights there are."""
        known = [(str(one.pk), f"{one.name} ({one.engine})") for one in Backend.objects.all()]
        if request.method == "GET" and request.GET.get("backend") not in dict(known):
            return choose_first(self, request, "backend", known, CHOOSE_BACKEND)
        return super().add_view(request, form_url, extra_context)

    def changeform_view(
        self, request: HttpRequest, object_id: Any = None, form_url: str = "", extra_context: Any = None
    ) -> Any:
        context = {"manners": list(Manner), **(extra_context or {})}
        response = super().changeform_view(request, object_id, form_url, context)
        response._csp_update = {"frame-src": ["'self'"]}  # the preview
        return response

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change, **kwargs)
        # Django makes this class for each request.
        form.may_change_meaning = obj is None or request.user.has_perm("operations.change_operationtype")  # type: ignore[attr-defined]
        return form

    @admin.display(description="what runs on the backend")
    def statements(self, obj: Role) -> str:
        """Exactly what creates an account, as the engine writes it, with an example of a name."""
        # A refused form has left its values in `obj`.
        saved = Role.objects.select_related("backend").filter(pk=obj.pk).first()
        if saved is None:
            return "Save the role: its statements appear here."
        found = roles.statements_of(saved, timezone.now())
        return format_html("<pre>{}</pre>", "\n".join(found)) if found else "The engine does not say."

    def get_queryset(self, request: HttpRequest) -> Any:
        live = Count("leases", filter=~Q(leases__state__in=FINAL_STATES))
        return super().get_queryset(request).annotate(live_leases=live)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return ("statements", "backend", "name") if obj else ("statements",)

    @admin.display(description="risk")
    def risk(self, obj: Role) -> str:
        return obj.operation_type.current.risk if obj.operation_type.current else "-"

    @admin.display(description="live leases", ordering="live_leases")
    def live(self, obj: Any) -> int:
        return int(obj.live_leases)

    def save_model(self, request: HttpRequest, obj: Role, form: Any, change: bool) -> None:
        meaning = {name: form.cleaned_data[name] for name in roles.MEANING_FIELDS}
        roles.put(obj, meaning, _about(request), timezone.now(), changed=form.changed_data if change else None)
        if obj.is_active and set(form.changed_data) & {"settings", "is_active", "backend"}:
            request.was_saved = obj  # type: ignore[attr-defined]

    def run_preflight(self, request: HttpRequest, saved: Role) -> None:
        self.display_report(request, saved, preflight.check_role(saved, _about(request), timezone.now()))

    @admin.action(description="End every lease now", permissions=["end"])
    def end_leases(self, request: HttpRequest, queryset: Any) -> None:
        now = timezone.now()
        ended = sum(_end(request, Q(role=role), now, role=role.name) for role in queryset)
        self.message_user(request, f"{ended} leases ended. The state “revoked” confirms that an account is gone.")


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
        ended = _end(request, Q(pk__in=ids), timezone.now())
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
