"""Pages of the administration beside an operation type's form: its versions, and the import of a document."""

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from audit.record import About
from foundation.admin import MAX_JSON_DEPTH
from foundation.errors import InvalidRequest
from foundation.forms import parse_json
from operations import api_documents, lifecycle, schemas
from operations.api_documents import Found, NoOperation
from operations.models import OperationType, OperationTypeVersion
from operations.type_form import proposed_wording
from operations.versions import differences

DRAFT = "operation_type_draft"  # in the session: what the last import found
MAX_LISTED = 40  # changes or problems that a page lists
MAX_DOCUMENT = 900_000  # characters; a request has at most 1 MiB


def versions_page(model_admin: Any, request: HttpRequest, operation_type: OperationType) -> HttpResponse:
    """Every version: who made it, when, and what it changed. `?from=` and `?to=` compare any two."""
    versions = list(operation_type.versions.order_by("-number"))
    authors = _authors(versions)
    rows = []
    for version, older in zip(versions, [*versions[1:], None], strict=True):
        changes = differences(_meaning(older), _meaning(version)) if older else []
        author = authors.get(version.created_by, version.created_by)
        rows.append({"version": version, "author": author, "changes": changes, "is_first": older is None})
    context = {
        **model_admin.admin_site.each_context(request),
        "title": f"Versions of {operation_type}", "opts": model_admin.model._meta, "original": operation_type,
        "rows": rows, "compared": _compared(request.GET, versions),
        "may_change": model_admin.has_change_permission(request, operation_type),
    }  # fmt: skip
    return render(request, "admin/operations/operationtype/versions.html", context)


def _meaning(version: OperationTypeVersion) -> dict[str, Any]:
    return {name: getattr(version, name) for name in version.MEANING}


def _authors(versions: list[OperationTypeVersion]) -> dict[str, str]:
    """`user:<id>` → the user's e-mail address."""
    ids = {}
    for actor in {version.created_by for version in versions if version.created_by.startswith("user:")}:
        try:
            ids[UUID(actor.removeprefix("user:"))] = actor
        except ValueError:
            continue
    return {ids[user.pk]: str(user.email) for user in User.objects.filter(pk__in=ids)}


def _compared(query: QueryDict, versions: list[OperationTypeVersion]) -> dict[str, Any] | None:
    by_number = {str(version.number): version for version in versions}
    before, after = by_number.get(query.get("from", "")), by_number.get(query.get("to", ""))
    if before is None or after is None:
        return None
    return {"before": before, "after": after, "changes": differences(_meaning(before), _meaning(after))}


def roll_back(model_admin: Any, request: HttpRequest, operation_type: OperationType, number: int) -> HttpResponse:
    """Makes a new version that equals the version `number`."""
    if not model_admin.has_change_permission(request, operation_type):
        raise PermissionDenied
    if not operation_type.versions.filter(number=number).exists():
        raise Http404
    about, now = About(f"user:{request.user.pk}"), timezone.now()
    try:
        made = lifecycle.roll_back(operation_type, number, about, now)
    except ValidationError as error:
        text = f"Version {number} cannot be used any more: {' '.join(error.messages)}"
        messages.error(request, f"{text} Open the newest version and change it instead.")
        return redirect("admin:operations_operationtype_history", operation_type.pk)
    if made:
        messages.success(request, f"The newest version equals version {number} again.")
    else:
        messages.info(request, f"The newest version equals version {number} already.")
    return redirect("admin:operations_operationtype_history", operation_type.pk)


class ImportForm(forms.Form):
    document = forms.CharField(
        required=False, max_length=MAX_DOCUMENT, label="Document", strip=True,
        widget=forms.Textarea(attrs={"rows": 14, "class": "vLargeTextField json", "spellcheck": "false"}),
        help_text="JSON: an OpenAPI document, an MCP tool or a list of MCP tools, or a JSON Schema.",
    )  # fmt: skip
    file = forms.FileField(required=False, label="Or a file", help_text="A .json file of at most 900 kB.")
    operation = forms.ChoiceField(required=False, label="Operation")

    found: list[Found]

    def clean_file(self) -> str:
        upload = self.cleaned_data["file"]
        if upload is None:
            return ""
        if upload.size > MAX_DOCUMENT:
            raise ValidationError("The file is larger than 900 kB. Paste only the part of this operation.")
        try:
            return str(upload.read().decode())
        except UnicodeDecodeError as error:
            raise ValidationError("The file is no text in UTF-8. Save it as JSON.") from error

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if self.errors.get("document") or self.errors.get("file"):
            return cleaned
        text = cleaned.get("file") or cleaned.get("document")
        if not text:
            raise ValidationError({"document": "Paste a document, or choose a file."})
        try:
            self.found = api_documents.operations_in(parse_json(text, "The document", max_depth=MAX_JSON_DEPTH))
        except InvalidRequest as error:
            raise ValidationError({"document": f"{error.description}. YAML is not read: convert it."}) from error
        except NoOperation as error:
            raise ValidationError({"document": str(error)}) from error
        return cleaned


def import_page(model_admin: Any, request: HttpRequest) -> HttpResponse:
    """First the document, then (if it has several) the operation, then the form with its fields."""
    if not model_admin.has_add_permission(request):
        raise PermissionDenied
    form = _import_form(request) if request.method == "POST" else ImportForm()
    if form.is_bound and form.is_valid():
        chosen = _chosen(form)
        if chosen is not None:
            return _to_form(request, chosen)
        form = _with_choice(form)
    context = {
        **model_admin.admin_site.each_context(request),
        "title": "Import an operation type", "opts": model_admin.model._meta, "form": form,
        "media": model_admin.media,
    }  # fmt: skip
    return render(request, "admin/operations/operationtype/import.html", context)


def _import_form(request: HttpRequest) -> ImportForm:
    form = ImportForm(request.POST, request.FILES)
    operation: Any = form.fields["operation"]
    operation.choices = [("", ""), *[(one, one) for one in [request.POST.get("operation", "")] if one]]
    return form


def _chosen(form: ImportForm) -> Found | None:
    key = form.cleaned_data["operation"]
    return form.found[0] if len(form.found) == 1 else next((one for one in form.found if one.key == key), None)


def _with_choice(form: ImportForm) -> ImportForm:
    """The same document, with the choice among its operations."""
    text = form.cleaned_data["file"] or form.cleaned_data["document"]
    choosing = ImportForm({"document": text, "operation": form.cleaned_data["operation"]})
    operation: Any = choosing.fields["operation"]
    labels = [(one.key, one.key if one.title in one.key else f"{one.key}: {one.title}") for one in form.found]
    operation.choices = [("", "Choose one"), *labels]
    choosing.errors.clear()
    choosing.found = form.found
    return choosing


def _to_form(request: HttpRequest, chosen: Found) -> HttpResponse:
    try:
        schema, changes = api_documents.read(chosen)
    except NoOperation as error:
        messages.error(request, str(error))
        return redirect("admin:operations_operationtype_import")
    if schemas.is_larger(schema, schemas.MAX_SCHEMA_BYTES):
        messages.error(request, f"{chosen.key} has too many fields. Paste only the part that an approval needs.")
        return redirect("admin:operations_operationtype_import")
    problems = schemas.problems_with(schema)
    for problem in problems[:MAX_LISTED]:
        messages.warning(request, f"Countersign cannot use this part as it is. {problem}")
    title = (chosen.title or "Operation").replace("{", "(").replace("}", ")")
    request.session[DRAFT] = {
        "schema": schema, "title": title, "summary": title if problems else proposed_wording(schema, title),
        "changes": _few(changes),
        "source": chosen.key,
    }  # fmt: skip
    return redirect(f"{reverse('admin:operations_operationtype_add')}?draft=1")


def _few(changes: list[str]) -> list[str]:
    more = len(changes) - MAX_LISTED
    return changes if more <= 0 else [*changes[:MAX_LISTED], f"and {more} more changes of the same kind"]


def draft_of(request: HttpRequest) -> dict[str, Any] | None:
    """What the last import found, for the form that is opened with ?draft=1."""
    found = request.session.get(DRAFT) if "draft" in request.GET else None
    return found if isinstance(found, dict) else None
