"""The form of an operation type: its fields as rows, its wording, its risk and limits."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from decimal import Decimal
from typing import Any, ClassVar

from django import forms
from django.core.exceptions import ValidationError
from django.http import QueryDict

from foundation.admin import LegibleJSON
from foundation.rows import RowForm, RowsField, RowsWidget
from foundation.settings_form import Lines
from operations import schema_rows, schemas, tightening, wording
from operations.models import OperationType, OperationTypeVersion
from operations.risk import Assurance, Risk
from operations.schema_rows import ITEM_KINDS, KINDS, NoRows, Row, RowProblem, rows_of, schema_of

_TEXTS = ("text", "host", "url", "email")
_COUNTED = (*_TEXTS, "integer", "number", "list")
FIELDS_HELP = (
    "Name: as in the agent's request; a dot leads into an object, as in creditor.name. Label: what the user reads; "
    "without one it is made from the name. Required: only such fields may stand in the texts below. At least and at "
    "most: the characters of a text (without a limit: 2000), the value of a number, or the items of a list."
)
LOOK_THEN_SAVE = "Countersign tightened this schema. Nothing is saved yet: look at the changes, then save again."


class _Number(forms.DecimalField):
    """A number as JSON has it: whole numbers stay whole."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=False, max_digits=15, min_value=-(2**53) + 1, max_value=2**53 - 1, **kwargs)

    def clean(self, value: Any) -> Any:
        found: Decimal | None = super().clean(value)
        if found is None:
            return None
        return int(found) if found == found.to_integral_value() else float(found)


class FieldForm(RowForm):
    """One field of the operation. The names are those of schema_rows.Row."""

    more: ClassVar[tuple[str, ...]] = ("pattern", "is_unique", "example", "note")
    input_kinds: ClassVar[Mapping[str, Sequence[str]]] = {
        "minimum": _COUNTED,
        "maximum": _COUNTED,
        "choices": ("choice", "list"),
        "pattern": ("text", "list"),
        "of": ("list",),
        "longest": ("list",),
        "is_unique": ("list",),
    }

    name = forms.CharField(max_length=250)
    label = forms.CharField(max_length=100, required=False)
    kind = forms.ChoiceField(choices=list(KINDS.items()), initial="text")
    required = forms.BooleanField(required=False, initial=True)
    of = forms.ChoiceField(
        choices=[(kind, KINDS[kind]) for kind in ITEM_KINDS], initial="text", required=False, label="List of"
    )
    minimum = _Number(label="At least")
    maximum = _Number(label="At most")
    longest = forms.IntegerField(min_value=1, max_value=2000, required=False, label="Longest item")
    choices = Lines(required=False, help_text="One on each line.")
    pattern = forms.CharField(
        max_length=200, required=False, help_text="A regular expression for the value, such as ^[A-Z]{3}$."
    )
    is_unique = forms.BooleanField(required=False, label="No item twice")
    example = forms.CharField(max_length=200, required=False, help_text="A value for previews and for agents.")
    note = forms.CharField(
        max_length=500, required=False, label="Note to agents", help_text="Agents read it; users do not."
    )

    def row(self) -> Row:
        return row_from(self.cleaned_data)


def row_from(data: dict[str, Any]) -> Row:
    """Only what the row's kind uses: the form also sends the inputs that it does not show."""
    kind = data["kind"]
    unused = {name for name, kinds in FieldForm.input_kinds.items() if kind not in kinds}
    if kind == "list":
        unused |= {"pattern"} if data["of"] != "text" else set()
        unused |= {"choices"} if data["of"] != "choice" else set()
        unused |= {"longest"} if data["of"] not in _TEXTS else set()
    used = {name: value for name, value in data.items() if name not in unused}
    return Row(**used | {"choices": tuple(used.get("choices", ()))})


def row_data(rows: Sequence[Row], name: str) -> dict[str, list[str]]:
    """The rows as a browser would send them."""
    sent: dict[str, list[str]] = {f"{name}-rows": [str(len(rows))]}
    for number, row in enumerate(rows):
        for key, value in initial_of(row).items():
            text = "\n".join(value) if isinstance(value, tuple) else "on" if value is True else value
            if value not in (None, False):
                sent[f"{name}-{number}-{key}"] = [str(text)]
    return sent


def initial_of(row: Row) -> dict[str, Any]:
    return asdict(row) | {"of": row.of or "text", "choices": row.choices}


class SchemaWidget(RowsWidget):
    """Rows; for a schema that rows cannot express, its JSON and the reason."""

    template_name = "admin/operations/schema.html"

    def value_from_datadict(self, data: Any, files: Any, name: str) -> Any:
        """The pasted text if there is one, else the rows."""
        text = data.get(name, "")
        return text if isinstance(text, str) and text.strip() else super().value_from_datadict(data, files, name)

    def get_context(self, name: str, value: Any, attrs: Any) -> dict[str, Any]:
        rows, text, reason = [], "", ""
        if isinstance(value, str):
            text = value
        elif isinstance(value, dict):
            try:
                rows = [initial_of(row) for row in rows_of(value)]
            except NoRows as problem:
                text, reason = json.dumps(value, indent=2, ensure_ascii=False), str(problem)
        else:
            rows = value or []
        return super().get_context(name, rows, attrs) | {"text": text, "reason": reason, "is_json": bool(text)}


class SchemaField(RowsField):
    """A JSON Schema, edited as rows or pasted as JSON."""

    widget_class = SchemaWidget

    def __init__(self) -> None:
        # An operation may have no fields.
        super().__init__(FieldForm, noun="field", max_rows=schemas.MAX_FIELDS, label="Fields", required=False)

    def clean(self, value: Any) -> Any:
        if value is None:
            raise ValidationError("Add the fields of the operation.")
        if isinstance(value, str):
            return LegibleJSON().clean(value)
        super().clean(value)
        try:
            return schema_of([row.row() for row in value])
        except RowProblem as problem:
            raise ValidationError(str(problem)) from problem

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return not schema_rows.has_same_meaning(initial, self.clean(data))
        except ValidationError:
            return True


class OperationTypeForm(forms.ModelForm[OperationType]):
    """An operation type with the fields of its newest version. Changing such a field creates the next version."""

    MEANING: ClassVar[tuple[str, ...]] = OperationTypeVersion.MEANING

    schema = SchemaField()
    title = OperationTypeVersion._meta.get_field("title").formfield(
        help_text="What kind of operation this is, in one or two words: Refund. Fields may appear here too."
    )
    summary = OperationTypeVersion._meta.get_field("summary").formfield(
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="The sentence that the user approves. {amount} is the field amount, {amount|money:currency} an "
        "amount with its currency. Formatters: money, money:currency, date, time, host (of a URL), list.",
    )
    risk = OperationTypeVersion._meta.get_field("risk").formfield(
        initial=Risk.SENSITIVE.value,
        help_text="Routine runs without asking anyone. Sensitive and critical always need an approval.",
    )
    assurance = OperationTypeVersion._meta.get_field("assurance").formfield(
        initial=Assurance.SESSION.value, help_text="How the approver must have signed in."
    )
    uses = OperationTypeVersion._meta.get_field("uses").formfield(
        initial=1, help_text="How many uses one approval allows."
    )
    lifetime = OperationTypeVersion._meta.get_field("lifetime").formfield(
        initial=600, help_text="Seconds from the approval to the end of the grant, at most one day (86400)."
    )

    class Meta:
        model = OperationType
        fields = ("resource", "name", "is_active")
        error_messages: ClassVar[dict[str, Any]] = {
            "name": {"unique": "An operation type has this name already. Change that one, or choose another name."}
        }
        help_texts: ClassVar[dict[str, str]] = {
            "name": "The agent writes it as the type in authorization_details. It cannot be changed later.",
            "resource": "The API that carries the operation out.",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.current = self.instance.current if self.instance.pk else None
        if self.current:
            self.initial.update({name: getattr(self.current, name) for name in self.MEANING})

    def meaning(self) -> dict[str, Any]:
        return {name: self.cleaned_data[name] for name in self.MEANING}

    def clean_schema(self) -> Any:
        schema = self.cleaned_data["schema"]
        if self.current and schema_rows.has_same_meaning(self.current.schema, schema):
            return self.current.schema  # another spelling is no new version
        if isinstance(schema, dict) and schemas.problems_with(schema):
            self._tighten(schema)
        return schema

    def _tighten(self, schema: dict[str, Any]) -> None:
        """Shows the tightened schema in place of the submitted one, and refuses to save before it was seen."""
        try:
            tight, changes = tightening.tightened(schema)
        except tightening.TooLarge as problem:
            raise ValidationError(str(problem)) from problem
        if not changes or schemas.problems_with(tight):
            return  # check_meaning names what is wrong with the schema as it was submitted
        self.data = with_schema(self.data, tight)
        raise ValidationError([LOOK_THEN_SAVE, *changes])

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        if not self.errors:
            OperationTypeVersion.check_meaning(self.meaning())
        return cleaned


def with_schema(data: Any, schema: dict[str, Any]) -> QueryDict:
    """The submitted form with this schema in it: as rows if they can express it."""
    query = QueryDict(mutable=True)
    for key in data:
        if key != "schema" and not key.startswith("schema-"):
            query.setlist(key, data.getlist(key) if hasattr(data, "getlist") else [data[key]])
    try:
        for key, values in row_data(rows_of(schema), "schema").items():
            query.setlist(key, values)
    except NoRows:
        query["schema"] = json.dumps(schema, indent=2, ensure_ascii=False)
    return query


def proposed_wording(schema: dict[str, Any], title: str) -> str:
    """A first sentence from the required fields, for the administrator to improve."""
    named = wording.placeholders(schema)
    text = f"{title}: {', '.join(named)}" if named else title
    return text if len(text) <= wording.MAX_TEXT else title
