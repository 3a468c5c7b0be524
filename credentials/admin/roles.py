"""Roles of backends in the administration."""

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import Count, Q
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import escape, format_html

from credentials import settings_inputs
from credentials.admin.preflighted import PreflightAfterSaving, about_administrator, choose_first, end_leases_of
from credentials.backends import preflight, roles
from credentials.leases.states import FINAL_STATES
from credentials.models import Backend, Role
from operations.models import OperationTypeVersion
from operations.preview_form import WithPreview

CHOOSE_BACKEND = "From which backend does the role issue accounts?"


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
                self.fields["settings"].help_text = f"The last preflight found these names for a role: {listed}."
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


def _listed_backends() -> Any:
    return Backend.objects.order_by("name").values_list("pk", "name", "engine")


@admin.register(Role)
class RoleAdmin(WithPreview, PreflightAfterSaving):
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
        if request.method == "GET":
            known = [(str(key), f"{name} ({engine})") for key, name, engine in _listed_backends()]
            if request.GET.get("backend") not in dict(known):
                return choose_first(self, request, "backend", known, CHOOSE_BACKEND)
        return super().add_view(request, form_url, extra_context)

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
        roles.put(
            obj, meaning, about_administrator(request), timezone.now(), changed=form.changed_data if change else None
        )
        if obj.is_active and set(form.changed_data) & {"settings", "is_active", "backend"}:
            request.was_saved = obj  # type: ignore[attr-defined]

    def run_preflight(self, request: HttpRequest, saved: Role) -> None:
        self.display_report(request, saved, preflight.check_role(saved, about_administrator(request), timezone.now()))

    @admin.action(description="End every lease now", permissions=["end"])
    def end_leases(self, request: HttpRequest, queryset: Any) -> None:
        now = timezone.now()
        ended = sum(end_leases_of(request, Q(role=role), now, role=role.name) for role in queryset)
        self.message_user(request, f"{ended} leases ended. The state “revoked” confirms that an account is gone.")
