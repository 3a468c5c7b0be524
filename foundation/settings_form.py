"""Settings as the inputs of a form, made from their description (settings_fields.py)."""

import json
from collections.abc import Sequence
from functools import cache
from typing import Any, ClassVar

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator

from foundation.admin import LegibleJSON
from foundation.rows import HiddenJSON, ProjectWidget, RowForm, RowsField
from foundation.settings_fields import Field


class Lines(forms.CharField):
    """Several texts, one on each line."""

    def __init__(self, *, line: forms.CharField | None = None, minimum: int = 0, maximum: int = 1000, **kwargs: Any):
        self.line, self.minimum, self.maximum = line or forms.CharField(), minimum, maximum
        super().__init__(widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false"}), max_length=20_000, **kwargs)

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(map(str, value)) if isinstance(value, list | tuple) else value

    def clean(self, value: Any) -> list[str]:
        text = super().clean(self.prepare_value(value))
        lines = list(dict.fromkeys(filter(None, (line.strip() for line in text.splitlines()))))
        if lines and not self.minimum <= len(lines) <= self.maximum:
            raise ValidationError(f"Write {self.minimum} to {self.maximum} lines.")
        problems = []
        for line in lines:
            try:
                self.line.clean(line)
            except ValidationError as error:
                problems += [f"{line[:60]}: {message}" for message in error.messages]
        if problems:
            raise ValidationError(problems)
        return lines

    def has_changed(self, initial: Any, data: Any) -> bool:
        return super().has_changed(self.prepare_value(initial), data)


def input_of(field: Field) -> forms.Field:
    """The input of one setting."""
    common: dict[str, Any] = {"required": field.required, "label": field.title, "help_text": _help(field)}
    match field.kind:
        case "integer":
            return forms.IntegerField(min_value=field.minimum, max_value=field.maximum, **common)
        case "boolean":
            return forms.BooleanField(**common | {"required": False})
        case "choice":
            blank = [] if field.required else [("", f"{field.default} (default)" if field.default else "")]
            return forms.ChoiceField(choices=[*blank, *((one, one) for one in field.choices)], **common)
        case "choices":
            return forms.MultipleChoiceField(
                choices=[(one, one) for one in field.choices], widget=forms.CheckboxSelectMultiple, **common
            )
        case "lines":
            line = forms.CharField(max_length=field.longest, validators=_validators(field))
            return Lines(line=line, minimum=field.minimum or 0, maximum=field.maximum or 1000, **common)
        case "rows":
            return RowsField(row_form(field), noun=_singular(field.title), max_rows=field.maximum or 60, **common)
    long: dict[str, Any] = (
        {"widget": forms.Textarea(attrs={"rows": 5, "spellcheck": "false"})} if field.kind == "long text" else {}
    )
    return forms.CharField(
        min_length=field.minimum, max_length=field.maximum, validators=_validators(field), **common, **long
    )


def _help(field: Field) -> str:
    default = f"Default: {field.default}." if field.default not in (None, "") and field.kind != "choice" else ""
    return " ".join(filter(None, (field.help, default)))


def _validators(field: Field) -> list[RegexValidator]:
    refused = "This has a character that is not allowed here, or too many characters."
    return [RegexValidator(field.pattern, refused)] if field.pattern else []


def _singular(title: str) -> str:
    return title.removesuffix("s").lower()


@cache
def row_form(field: Field) -> type[RowForm]:
    title = next((one.name for one in field.fields if one.kind == "text"), "")
    inputs = {one.name: input_of(one) for one in field.fields}
    return type("SettingsRow", (RowForm,), {**inputs, "title_field": title})


@cache
def _form(fields: tuple[Field, ...]) -> type[forms.Form]:
    inputs = {one.name: input_of(one) for one in fields if not one.is_secret}
    return type("SettingsForm", (forms.Form,), {**inputs, "use_required_attribute": False})


class SettingsWidget(ProjectWidget):
    """One input for each setting. Settings that come as JSON text, such as stored ones, are shown likewise."""

    template_name = "admin/settings.html"

    class Media:
        js: ClassVar[list[Any]] = [forms.Script("countersign/rows.js", type="module")]

    def __init__(self, fields: Sequence[Field], attrs: Any = None) -> None:
        super().__init__(attrs)
        self.form = _form(tuple(fields))

    def value_from_datadict(self, data: Any, files: Any, name: str) -> Any:  # noqa: ARG002 - Django calls it so
        text = data.get(name)
        if isinstance(text, str) and text.strip():
            return text
        return self.form(data, prefix=name) if any(key.startswith(f"{name}-") for key in data) else None

    def get_context(self, name: str, value: Any, attrs: Any) -> dict[str, Any]:
        form, text = self.form(prefix=name), ""
        if isinstance(value, forms.Form):
            form = value
        elif value:
            stored = _parsed(value)
            if stored is None:
                text = value
            else:
                form = self.form(initial=stored, prefix=name)
        return super().get_context(name, value, attrs) | {"form": form, "text": text, "name": name}


def _parsed(text: Any) -> dict[str, Any] | None:
    try:
        found = LegibleJSON().clean(text)
    except ValidationError:
        return None
    return found if isinstance(found, dict) else None


class SettingsField(forms.Field):
    """Its cleaned value is what is stored: a JSON object without the settings that were left empty."""

    hidden_widget = HiddenJSON

    def __init__(self, fields: Sequence[Field], **kwargs: Any) -> None:
        super().__init__(widget=SettingsWidget(fields), **kwargs)

    def prepare_value(self, value: Any) -> Any:
        return json.dumps(value) if isinstance(value, dict) else value

    def to_python(self, value: Any) -> Any:
        return LegibleJSON(required=False).clean(value) if isinstance(value, str) else value

    def clean(self, value: Any) -> Any:
        if value is None or value == "":
            raise ValidationError("Fill in the settings.")
        if isinstance(value, str):
            return self.to_python(value)
        if not value.is_valid():
            raise ValidationError(
                [f"{value[name].label}: {error}" for name, errors in value.errors.items() for error in errors]
            )
        return _stored(value.cleaned_data)

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return bool(_stored(self.clean(data)) != _stored(initial))
        except (ValidationError, AttributeError):
            return True


def _stored(value: Any) -> Any:
    """Without what says nothing: an empty text, an empty list, and false."""
    if isinstance(value, dict):
        filled = {name: _stored(one) for name, one in value.items()}
        return {name: one for name, one in filled.items() if one not in (None, "", [], ()) and one is not False}
    return [_stored(one) for one in value] if isinstance(value, list) else value
