"""A form field whose value is a list of rows: several small forms of one kind inside one form of the administration.

A row that is left as it was offered does not count, and a row with a tick at “Remove” is dropped. So the
field works without JavaScript. With it, rows.js adds rows and shows only the inputs that suit a row.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from django import forms
from django.core.exceptions import ValidationError
from django.http import QueryDict
from django.template.loader import render_to_string

MAX_ROWS = 60  # Django accepts 1000 inputs in one form


class RowForm(forms.Form):
    """One row. `title_field` names the row in errors and headings. `more` are inputs that are folded away.

    `input_kinds`: input → the values of the input `kind` that use it.
    """

    title_field: ClassVar[str] = "name"
    more: ClassVar[tuple[str, ...]] = ()
    input_kinds: ClassVar[Mapping[str, Sequence[str]]] = {}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs | {"empty_permitted": True, "use_required_attribute": False})

    @property
    def row_title(self) -> str:
        return str(self[self.title_field].value() or "") if self.title_field in self.fields else ""

    @property
    def is_removed(self) -> bool:
        return bool(self.data.get(f"{self.prefix}-remove"))

    @property
    def inputs(self) -> list[tuple[forms.BoundField, str]]:
        return [(one, self._kinds(one)) for one in self if one.name not in self.more]

    @property
    def more_inputs(self) -> list[tuple[forms.BoundField, str]]:
        return [(one, self._kinds(one)) for one in self if one.name in self.more]

    @property
    def is_open(self) -> bool:
        """Whether a folded input holds something that must be seen."""
        return any(one.errors or one.value() for one, _ in self.more_inputs)

    def _kinds(self, one: forms.BoundField) -> str:
        return " ".join(self.input_kinds.get(one.name, ()))


class ProjectWidget(forms.Widget):
    """A widget of several inputs whose template is one of this project's."""

    template_name: str
    use_fieldset = True

    def value_omitted_from_data(self, data: Any, files: Any, name: str) -> bool:
        return self.value_from_datadict(data, files, name) is None

    def id_for_label(self, id_: str) -> str:  # noqa: ARG002 - Django calls it so
        return ""

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> Any:  # noqa: ARG002 - Django calls it so
        # The renderer of Django's widgets does not read the templates of this project.
        return render_to_string(self.template_name, self.get_context(name, value, attrs))


class RowsWidget(ProjectWidget):
    template_name = "admin/rows.html"

    class Media:
        js: ClassVar[list[Any]] = [forms.Script("countersign/rows.js", type="module")]

    def __init__(self, row_form: type[RowForm], *, noun: str, spare: int = 1, attrs: Any = None) -> None:
        super().__init__(attrs)
        self.row_form, self.noun, self.spare = row_form, noun, spare

    def value_from_datadict(self, data: Any, files: Any, name: str) -> Any:  # noqa: ARG002 - Django calls it so
        """The rows of the submitted form; None if the form had no such field."""
        pattern = re.compile(rf"{re.escape(name)}-([0-9]{{1,3}})-[a-z_]+")
        numbers = sorted({int(match[1]) for key in data if (match := pattern.fullmatch(key))})
        if not numbers and f"{name}-rows" not in data:
            return None
        rows = [self.row_form(data, prefix=f"{name}-{number}") for number in numbers]
        return [row for row in rows if row.has_changed() and not row.is_removed]

    def get_context(self, name: str, value: Any, attrs: Any) -> dict[str, Any]:
        rows = [self._form(name, number, one) for number, one in enumerate(value or [])]
        blank = [self.row_form(prefix=f"{name}-{len(rows) + n}") for n in range(self.spare)]
        template = self.row_form(prefix=f"{name}-__number__")
        return super().get_context(name, value, attrs) | {
            "rows": rows + blank, "template": template, "noun": self.noun, "name": name,
        }  # fmt: skip

    def _form(self, name: str, number: int, row: Any) -> RowForm:
        """A submitted row with its errors, or a stored one."""
        if not isinstance(row, RowForm):
            return self.row_form(initial=row, prefix=f"{name}-{number}")
        renumbered = {
            f"{name}-{number}-{key.removeprefix(f'{row.prefix}-')}": row.data.getlist(key)
            if hasattr(row.data, "getlist") else [row.data[key]]
            for key in row.data if key.startswith(f"{row.prefix}-")
        }  # fmt: skip
        return self.row_form(_as_query(renumbered), prefix=f"{name}-{number}")


def _as_query(values: Mapping[str, list[str]]) -> Any:
    query = QueryDict(mutable=True)
    for name, several in values.items():
        query.setlist(name, several)
    return query


class HiddenJSON(forms.HiddenInput):
    """The rows as they were shown, so that a change is detected against the page and not against the newer row."""

    def format_value(self, value: Any) -> str:
        """A refused form that came without its hidden input has inputs here, and no stored value."""
        return value if isinstance(value, str) else json.dumps(value) if isinstance(value, dict | list) else ""


class RowsField(forms.Field):
    """Its cleaned value is a list of the rows' cleaned data."""

    widget_class = RowsWidget

    def __init__(self, row_form: type[RowForm], *, noun: str, max_rows: int = MAX_ROWS, **kwargs: Any) -> None:
        self.max_rows, self.noun = max_rows, noun
        super().__init__(widget=self.widget_class(row_form, noun=noun), **kwargs)

    def clean(self, value: Any) -> list[dict[str, Any]]:
        rows = value or []
        if len(rows) > self.max_rows:
            raise ValidationError(f"There are more than {self.max_rows} rows.")
        problems = [problem for number, row in enumerate(rows, 1) for problem in _problems(row, number)]
        if problems:
            raise ValidationError(problems)
        if self.required and not rows:
            raise ValidationError(f"Add at least one {self.noun}.")
        return [row.cleaned_data for row in rows]

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return self.clean(data) != (initial or [])
        except ValidationError:
            return True


def _problems(row: RowForm, number: int) -> list[str]:
    name = row.row_title or f"row {number}"
    return [
        f"{name}: {row[field].label}: {error}" if field in row.fields else f"{name}: {error}"
        for field, errors in row.errors.items()
        for error in errors
    ]
