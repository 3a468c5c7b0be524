"""A request body is taken exactly if its schema at /v1/schema allows it."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend

from credentials.leases.serializers import LeaseRenewalSerializer, LeaseRequestSerializer, LeaseUnwrappingSerializer
from foundation.errors import InvalidRequest
from foundation.serializers import RequestBody
from oauth.resource_servers.api import UseRequestSerializer
from tests.support.budget import examples
from tests.support.described_responses import description

pytestmark = pytest.mark.soak

BODIES: dict[str, type[RequestBody]] = {
    "LeaseRequest": LeaseRequestSerializer,
    "LeaseRenewal": LeaseRenewalSerializer,
    "LeaseUnwrapping": LeaseUnwrappingSerializer,
    "UseRequest": UseRequestSerializer,
}
TAKEN: dict[str, dict[str, Any]] = {
    "LeaseRequest": {"role": "r", "lifetime": 60, "delivery": "wrapped", "wrap_lifetime": 60, "purpose": "p"},
    "LeaseRenewal": {"lifetime": 60},
    "LeaseUnwrapping": {"handle": "h" * 43},
    "UseRequest": {"token": "t", "operation_digest": "d" * 43},
}
LIKELY: list[Any] = [
    "direct", "wrapped", "orders-readonly", "d" * 43, "d" * 42, "d" * 43 + "\n", "\u00e9", "x" * 101, "", "60", " ",
    True, False, None, 0, 1, 9, 10, 60, 600, 601, 86_400, 86_401, -1, 1.5, [], {}, ["direct"],
]  # fmt: skip
VALUES = st.one_of(
    st.sampled_from(LIKELY),
    st.from_regex(r"[A-Za-z0-9_-]{43}", fullmatch=True),
    st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=110),
    st.integers(-10, 100_000),
)  # fmt: skip


def _check_pattern(_validator: Any, pattern: str, value: Any, _schema: Any) -> Any:
    """As JSON Schema and ECMA 262 say: `$` is the end, and not the place before a last line break."""
    if isinstance(value, str) and not re.search(pattern.replace("$", r"\Z"), value):
        yield ValidationError("does not match")


Validator = extend(Draft202012Validator, {"pattern": _check_pattern})  # type: ignore[no-untyped-call]


def problem_with(reader: RequestBody, body: Any) -> str:
    try:
        reader.read(body)
    except InvalidRequest as error:
        return error.description
    return ""


def check_agreement(name: str, body: Any) -> None:
    document = description().document
    problem = problem_with(BODIES[name](), body)
    if problem == "wrap_lifetime is for delivery wrapped only":
        return  # a rule about two members, which the schema has no words for
    schema = {**document["components"]["schemas"][name], "components": document["components"]}
    assert Validator(schema).is_valid(body) == (not problem), (body, problem)


@pytest.mark.parametrize("name", BODIES)
def test_reader_and_schema_agree_about_each_member(name: str) -> None:
    check_agreement(name, TAKEN[name])
    for member in (*BODIES[name]().fields, "more"):
        for value in LIKELY:
            check_agreement(name, TAKEN[name] | {member: value})


@pytest.mark.parametrize("name", BODIES)
@examples(200, 20_000)
@given(data=st.data())
def test_reader_and_schema_agree(name: str, data: st.DataObject) -> None:
    names = st.sampled_from([*BODIES[name]().fields, "more"])
    # Near a body that is taken, so that each member decides by itself now and then.
    changed = TAKEN[name] | data.draw(st.dictionaries(names, VALUES, max_size=2))
    left_out = data.draw(st.sets(names, max_size=1))
    near = {member: value for member, value in changed.items() if member not in left_out}
    check_agreement(name, data.draw(st.just(near) | VALUES))


def test_every_body_of_a_request_is_tried() -> None:
    references = re.findall(r"'requestBody': .*?schemas/(\w+)", str(description().document["paths"]))
    assert set(references) == set(BODIES)


SECONDS = "must be a whole number of seconds from 10 to 86400"


@pytest.mark.parametrize(
    ("name", "body", "problem"),
    [
        ("UseRequest", [], "the body must be a JSON object"),
        ("UseRequest", {}, "token is missing"),
        ("UseRequest", {"token": 7}, "token must be an access token"),
        ("UseRequest", {"token": "", "operation_digest": "d" * 43}, "token must be an access token"),
        ("UseRequest", {"token": "x"}, "operation_digest is missing"),
        ("UseRequest", {"token": "x", "operation_digest": "d"}, "operation_digest must be 43 characters of base64url"),
        ("LeaseRequest", {}, "role is missing"),
        ("LeaseRequest", {"role": None}, "role is missing"),
        ("LeaseRequest", {"role": 1}, "role must be a string"),
        ("LeaseRequest", {"role": "r", "lifetime": "60"}, f"lifetime {SECONDS}"),
        ("LeaseRequest", {"role": "r", "lifetime": 1e1}, f"lifetime {SECONDS}"),
        ("LeaseRequest", {"role": "r", "lifetime": 9}, f"lifetime {SECONDS}"),
        ("LeaseRequest", {"role": "r", "delivery": "by post"}, "delivery must be direct or wrapped"),
        ("LeaseRequest", {"role": "r", "wrap_lifetime": 5}, "wrap_lifetime is for delivery wrapped only"),
        (
            "LeaseRenewal", {"lifetimes": 5},
            "the body has an unknown member: lifetimes (known: lifetime)",
        ),
        ("LeaseUnwrapping", {"handle": "é"}, "handle must be at most 100 ASCII characters"),
    ],
)  # fmt: skip
def test_the_error_names_the_member_and_what_is_wanted(name: str, body: Any, problem: str) -> None:
    assert problem_with(BODIES[name](), body) == problem
