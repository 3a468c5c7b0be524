"""The prompt that an unsaved operation type or role would show, with example values, for its administrator.

The text and the template are those of the user's page. Nothing is stored. The answer may be framed by our
own pages, and its sandbox runs no script.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from csp.decorators import csp_replace
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.clickjacking import xframe_options_sameorigin
from django.views.decorators.http import require_POST

from ciba.models import BackchannelRequest
from ciba.pages import slip_of
from ciba.prompt_content import PromptContent, describe_operation
from clients.models import Agent
from credentials.backends import roles
from credentials.backends.secrets import find_own_resource
from credentials.models import Role
from operations import examples, schemas, wording
from operations.examples import Manner
from operations.models import OperationType

TIME_TO_ANSWER = timedelta(minutes=5)
AGENT_NAME = "Example agent"
# The fields of a form whose problems belong to the prompt. Of the others, such as a name, it shows nothing.
_PROMPT_FIELDS = ("schema", "title", "summary")


@dataclass
class Preview:
    """`content` is None if there is no prompt to render. `problems` say what to do."""

    problems: list[str] = field(default_factory=list)
    content: PromptContent | None = None
    uses: int = 1
    lifetime: int = 600


def _type_fields(form: Any) -> dict[str, Any]:
    return dict(form.cleaned_data)


def _role_fields(form: Any) -> dict[str, Any]:
    """The schema and the lifetime of a role's operation type follow from the role."""
    lifetime = form.cleaned_data.get("max_lifetime") or 3600
    return dict(form.cleaned_data) | {
        "schema": roles.schema_of(Role(max_lifetime=lifetime)), "lifetime": lifetime, "resource": find_own_resource(),
    }  # fmt: skip


# Model → the fields of the version that its form would make.
FORMS: dict[type[Model], Callable[[Any], dict[str, Any]]] = {OperationType: _type_fields, Role: _role_fields}


@never_cache
@xframe_options_sameorigin
@csp_replace({"frame-ancestors": ["'self'"], "script-src": ["'none'"]})
@require_POST
def preview_view(request: HttpRequest, *, model: str = "") -> HttpResponse:
    """POST an unsaved form of the administration. For those who may save it."""
    found = next((one for one in FORMS if one._meta.model_name == model), None)
    if found is None:
        raise Http404
    model_admin = admin.site.get_model_admin(found)
    original = model_admin.get_object(request, request.POST["preview_of"]) if "preview_of" in request.POST else None
    if "preview_of" in request.POST and original is None:
        raise Http404
    may = model_admin.has_change_permission(request, original) if original else model_admin.has_add_permission(request)
    if not may:
        raise PermissionDenied
    form = model_admin.get_form(request, original, change=original is not None)(request.POST, instance=original)
    manner = request.POST.get("preview_manner", "")
    preview = compose(form, FORMS[found](_checked(form)), Manner(manner) if manner in set(Manner) else Manner.PLAIN)
    now = timezone.now()
    context = _context(preview, original, now) | {"statements": _statements(form, now)}
    return render(request, "admin/prompt_preview_page.html", context)


def _checked(form: Any) -> Any:
    form.full_clean()
    return form


def compose(form: Any, fields: dict[str, Any], manner: Manner) -> Preview:
    """The prompt of these fields, or what prevents it."""
    preview = Preview(uses=fields.get("uses") or 1, lifetime=fields.get("lifetime") or 600)
    preview.problems = [
        f"{form.fields[name].label or name}: {problem}"
        for name in _PROMPT_FIELDS
        for problem in form.errors.get(name, ())
    ]
    schema = fields.get("schema")
    if not schema or schemas.problems_with(schema):
        return preview
    details, missing = examples.example(schema, manner)
    if missing:
        preview.problems.append(
            f"There is no example of {', '.join(missing)}: fill in its example, so that the preview shows it."
        )
    if problem := wording.unshowable(details):
        preview.problems.append(f"Countersign refuses such a request: {problem}.")
        return preview
    _fill(preview, fields, details)
    return preview


def _fill(preview: Preview, fields: dict[str, Any], details: dict[str, Any]) -> None:
    texts = {name: fields.get(name) or "…" for name in ("title", "summary")}
    try:
        operation = describe_operation(details, **texts, risk=fields.get("risk") or "routine", schema=fields["schema"])
    except wording.WordingError as problem:
        if not preview.problems:  # else an example is missing, which is the reason
            preview.problems.append(f"Countersign refuses such a request: {problem}.")
        return
    resource = fields.get("resource")
    preview.content = {
        "agent": AGENT_NAME, "resource": str(resource) if resource else None, "operations": [operation], "access": [],
    }  # fmt: skip


def _statements(form: Any, now: datetime) -> list[str]:
    """What an unsaved role would run on its backend."""
    fields = form.cleaned_data
    if not isinstance(form.instance, Role) or "settings" not in fields:
        return []
    backend = fields.get("backend") or (None if form.instance._state.adding else form.instance.backend)
    lifetime = fields.get("default_lifetime") or 600
    if backend is None:
        return []
    return roles.statements_of(Role(backend=backend, settings=fields["settings"], default_lifetime=lifetime), now)


def _context(preview: Preview, original: Any, now: datetime) -> dict[str, Any]:
    if preview.content is None:
        return {"problems": preview.problems or ["Fill in the fields and the texts: the prompt appears here."]}
    if preview.content["resource"] is None and isinstance(original, OperationType):
        preview.content["resource"] = str(original.resource)
    request = BackchannelRequest(
        agent=Agent(name=AGENT_NAME), content=preview.content, uses=preview.uses, grant_lifetime=preview.lifetime,
        expires_at=now + TIME_TO_ANSWER,
    )  # fmt: skip
    return {
        **slip_of(request), "problems": preview.problems, "is_open": True, "is_preview": True,
        "must_sign_in": False, "now": now,
    }  # fmt: skip
