"""Settings from a description: the inputs, the JSON Schema and the documents say the same."""

from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.http import QueryDict
from jsonschema import Draft202012Validator

from credentials.engines import BUILT_IN, describe_settings, find_engine
from foundation.settings_fields import Field, Undescribed, fields_of, schema_of
from foundation.settings_form import SettingsField

WHOLE: dict[tuple[str, str], dict[str, Any]] = {
    ("postgres", "backend"): {
        "host": "db.example.com", "port": 5433, "database": "orders", "user": "countersign", "sslmode": "require",
        "sslrootcert": "/ca.pem", "shown_host": "db", "shown_port": 6432,
    },
    ("postgres", "role"): {
        "groups": ["reader", "a b"], "database": "orders", "connection_limit": 3, "objects": "reassign",
        "reassign_to": "owner",
    },
    ("mysql", "backend"): {
        "host": "db", "port": 3307, "user": "countersign", "account_host": "10.%", "shown_host": "x",
        "shown_port": 1, "tls": True, "ca": "PEM",
    },
    ("mysql", "role"): {
        "grants": [
            {"database": "orders", "privileges": ["SELECT", "INSERT"]},
            {"database": "orders", "table": "audit", "privileges": ["SELECT"]},
        ]
    },
    ("redis", "backend"): {
        "nodes": [{"host": "a", "port": 1}, {"host": "b", "port": 2}], "user": "admin", "tls": True, "ca": "PEM",
    },
    ("redis", "role"): {"rules": ["~orders:*", "+@read"]},
}  # fmt: skip


def sent(settings: dict[str, Any], prefix: str = "settings") -> QueryDict:
    """As a browser sends the inputs."""
    query = QueryDict(mutable=True)
    query[f"{prefix}-described"] = "1"
    for name, value in settings.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            for number, row in enumerate(value):
                for key, values in sent(row, f"{prefix}-{name}-{number}").lists():
                    query.setlist(key, values)
        elif isinstance(value, list):
            query.setlist(f"{prefix}-{name}", value if name == "privileges" else ["\n".join(value)])
        else:
            query[f"{prefix}-{name}"] = "on" if value is True else str(value)
    return query


def cleaned(fields: Any, query: QueryDict) -> Any:
    field = SettingsField(fields)
    return field.clean(field.widget.value_from_datadict(query, {}, "settings"))


@pytest.mark.parametrize("case", WHOLE, ids=" ".join)
def test_every_setting_of_an_engine_goes_through_its_inputs(case: tuple[str, str]) -> None:
    name, which = case
    engine, settings = find_engine(name), WHOLE[case]
    fields = describe_settings(engine, which)
    schema = getattr(engine, f"{which}_schema")
    assert settings.keys() == {field.name for field in fields if not field.is_secret}, "this table has all of them"
    assert list(Draft202012Validator(schema).iter_errors(settings)) == []
    assert cleaned(fields, sent(settings)) == settings
    assert not SettingsField(fields).has_changed(settings, SettingsField(fields).prepare_value(settings))
    for required in (field.name for field in fields if field.required and not field.is_secret):
        rest = {key: value for key, value in settings.items() if key != required}
        assert list(Draft202012Validator(schema).iter_errors(rest)), required
        with pytest.raises(ValidationError):
            cleaned(fields, sent(rest))


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_description_is_complete(name: str) -> None:
    for which in ("backend", "role"):
        fields = describe_settings(find_engine(name), which)
        Draft202012Validator.check_schema(schema_of(fields))
        assert getattr(find_engine(name), f"{which}_schema") == schema_of(fields)
        for field in fields:
            assert field.title and (not field.required or field.default is None)
    secrets = [field for field in describe_settings(find_engine(name), "backend") if field.is_secret]
    assert len(secrets) == 1 and secrets[0].name not in find_engine(name).backend_schema["properties"]


@pytest.mark.parametrize(
    ("case", "change", "said"),
    [
        (("postgres", "backend"), {"port": "99999"}, "Port: Ensure this value is less than or equal to 65535"),
        (("postgres", "backend"), {"host": "a b"}, "Host: This has a character that is not allowed"),
        (("postgres", "backend"), {"sslmode": "maybe"}, "TLS: Select a valid choice"),
        (("postgres", "role"), {"groups": ["x" * 64]}, "at most 63 characters"),
        (("postgres", "role"), {"groups": [f"g{n}" for n in range(11)]}, "Write 1 to 10 lines"),
        (("mysql", "role"), {"grants": [{"database": "a", "privileges": ["GRANT OPTION"]}]}, "May: Select a valid"),
        (("mysql", "role"), {"grants": [{"database": "", "privileges": ["SELECT"]}]}, "Database: This field is req"),
        (("redis", "role"), {"rules": ["+get", ">secret"]}, ">secret: This has a character"),
        (("redis", "backend"), {"nodes": [{"host": "a", "port": "x"}]}, "a: Port: Enter a whole number"),
    ],
)  # fmt: skip
def test_a_problem_names_the_input(case: tuple[str, str], change: dict[str, Any], said: str) -> None:
    fields = describe_settings(find_engine(case[0]), case[1])
    with pytest.raises(ValidationError) as refused:
        cleaned(fields, sent(WHOLE[case] | change))
    assert said in str(refused.value)


def test_inputs_from_the_schema_of_an_engine_without_a_description() -> None:
    for name in BUILT_IN:
        for which in ("backend", "role"):
            settings = WHOLE[name, which]
            derived = fields_of(getattr(find_engine(name), f"{which}_schema"))
            assert cleaned(derived, sent(settings)) == settings


@pytest.mark.parametrize(
    "part",
    [{"anyOf": []}, {"type": "object"}, {"type": "array", "items": {"type": "array"}}, {"type": ["string"]}, True],
)
def test_a_schema_that_no_input_can_express(part: Any) -> None:
    with pytest.raises(Undescribed, match="x "):
        fields_of({"type": "object", "properties": {"x": part}})


def test_what_is_empty_is_not_stored() -> None:
    fields = (Field("a"), Field("b", "boolean"), Field("c", "lines"), Field("d", "integer"))
    assert cleaned(fields, sent({"a": "", "c": [""], "d": ""})) == {}
    assert not SettingsField(fields).has_changed({"b": False}, '{"b": false}')
    assert SettingsField(fields).has_changed({"a": "x"}, "{")
