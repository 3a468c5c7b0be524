"""A compiled query returns what Django's own queryset returns, for each shape of a query.

foundation/compiled_queries.py reads private parts of Django's compiler. It was written for Django 5.2. Under another
version these tests say what must be looked at.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import django
import pytest
from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Count, Exists, F, Model, OuterRef, Q, Value
from django.db.models.functions import Upper
from django.utils import timezone
from psycopg.types.json import Jsonb

from accounts.models import User
from foundation.compiled_queries import CompiledQuery, Parameter
from foundation.handles import digest, new_id
from foundation.inserts import insert
from foundation.prepared_statements import Statement, execute, text_of
from oauth.models import Grant, RefreshToken, SigningKey, Use
from operations.models import Scope
from operations.risk import Risk
from tests.support.world import Caller

pytestmark = pytest.mark.django_db(transaction=True)

HOSTILE = "50% of 'it' \\ \"and\" %s {a,NULL} é\n"


def test_it_was_written_for_this_version() -> None:
    assert django.VERSION[:2] == (5, 2), (
        "compare foundation/compiled_queries.py with the new compiler, then change this"
    )


@dataclass(frozen=True)
class Rows:
    grant: Grant
    unasked: Grant
    token: RefreshToken


@pytest.fixture
def rows(agent: Caller, user: User) -> Rows:
    now = timezone.now()

    def make(**values: Any) -> Grant:
        return Grant.objects.create(
            id=new_id(), agent=agent.agent, operation_digest="d", created_at=now, expires_at=now + timedelta(hours=1),
            **values,
        )  # fmt: skip

    grant = make(
        user=user, uses_left=3, scopes=["a", HOSTILE, ""], authorization_details=[{"type": HOSTILE, "n": [1.5]}]
    )
    unasked = make(scopes=[])
    for key in (None, b"\x00%s'\xff"):
        Use.objects.create(id=new_id(), grant=grant, operation_digest="d", idempotency_digest=key, at=now)
    first = RefreshToken.objects.create(
        grant=grant, token_digest=digest("1"), cnf={"jkt": "k"}, created_at=now, expires_at=now
    )
    RefreshToken.objects.create(
        grant=grant, token_digest=digest("2"), created_at=now, expires_at=now, predecessor=first, salt=b"\x00"
    )
    return Rows(grant, unasked, first)


# Each is given a way to name a value: `Parameter` for us, the value itself for Django.
SHAPES: dict[str, Callable[[Callable[[str], Any]], Any]] = {
    "all columns, of any type": lambda v: Grant.objects.filter(agent=v("agent")).order_by("uses_left"),
    "binary": lambda v: Use.objects.filter(grant=v("grant")).order_by("idempotency_digest"),
    "a nullable relation": lambda v: (
        Grant.objects.filter(agent=v("agent")).select_related("user", "resource").order_by("uses_left")
    ),
    "relations of relations": lambda v: RefreshToken.objects.select_related(
        "grant__user", "grant__resource", "grant__agent"
    ).filter(grant=v("grant")),
    "a reverse relation": lambda v: (
        RefreshToken.objects.select_related("successor").filter(grant=v("grant")).order_by("pk")
    ),
    "annotations": lambda v: (
        Grant.objects.filter(agent=v("agent"))
        .select_related("user")
        .annotate(
            spent=Count("uses"),
            is_alive=Exists(Grant.objects.alive(v("now")).filter(pk=OuterRef("pk"))),
            names=ArraySubquery(Use.objects.filter(grant=OuterRef("pk")).order_by("at").values("operation_digest")),
            constant=Value(HOSTILE),
            details=F("authorization_details"),
        )
        .order_by("uses_left")
    ),
    "only some columns": lambda v: (
        Grant.objects.filter(pk=v("grant")).select_related("agent").only("scopes", "expires_at", "agent__name")
    ),
    "deferred columns": lambda v: Grant.objects.filter(pk=v("grant")).defer("authorization_details"),
    "tuples": lambda v: Grant.objects.filter(pk=v("grant")).values_list(
        "pk", "scopes", "authorization_details", "user"
    ),
    "tuples in another order": lambda v: (
        Grant.objects.annotate(upper=Upper("operation_digest")).filter(pk=v("grant")).values_list("upper", "created_at")
    ),
    "one column": lambda v: (
        Grant.objects.filter(agent=v("agent")).order_by("uses_left").values_list("uses_left", flat=True)
    ),
    "one column that is converted": lambda v: Grant.objects.filter(pk=v("grant")).values_list(
        "authorization_details", flat=True
    ),
    "a key of JSON": lambda v: Grant.objects.filter(pk=v("grant"), authorization_details__0__type=HOSTILE),
    "constants": lambda v: Grant.objects.filter(
        Q(user=None) | Q(operation_digest__in=["d", HOSTILE]), agent=v("agent"), created_at__lt=v("now")
    ).order_by("uses_left"),
    "a part of a text": lambda v: Scope.objects.filter(name__contains="%").order_by("pk"),
    "a limit": lambda v: Grant.objects.filter(agent=v("agent")).order_by("uses_left")[:1],
}


def content_of(row: Any, depth: int = 3) -> Any:
    """Everything that Django has loaded into a row, and what Django knows of it."""
    if not isinstance(row, Model) or not depth:
        return row
    columns = {name: value for name, value in vars(row).items() if name != "_state"}
    related = {name: content_of(other, depth - 1) for name, other in row._state.fields_cache.items()}
    return type(row), columns, related, row._state.adding, row._state.db


@pytest.mark.parametrize("shape", SHAPES)
def test_the_same_rows(shape: str, rows: Rows) -> None:
    given = {"agent": rows.grant.agent_id, "grant": rows.grant.pk, "now": timezone.now()}
    compiled, theirs = CompiledQuery(lambda: SHAPES[shape](Parameter)), list(SHAPES[shape](given.__getitem__))
    for _ in range(2):
        ours = compiled(**given)
        assert [content_of(row) for row in ours] == [content_of(row) for row in theirs]
        assert [type(row) for row in ours] == [type(row) for row in theirs]
    assert theirs or shape == "a part of a text"


def test_a_deferred_column_is_loaded_later(rows: Rows) -> None:
    (found,) = CompiledQuery(lambda: Grant.objects.filter(pk=Parameter("pk")).only("pk"))(pk=rows.grant.pk)
    assert found.get_deferred_fields() > {"scopes", "authorization_details"}
    assert found.scopes == rows.grant.scopes


@pytest.mark.parametrize(
    "build",
    [lambda: Grant.objects.prefetch_related("uses"), lambda: Grant.objects.get(agent__isnull=False).uses.all()],
    ids=["prefetch_related", "a related manager"],
)
def test_what_cannot_be_compiled_says_so(build: Callable[[], Any], rows: Rows) -> None:
    rows.unasked.delete()
    with pytest.raises(TypeError, match="a compiled query has no"):
        CompiledQuery(build)()


def test_a_row_is_read_as_it_was_inserted(rows: Rows) -> None:
    now = timezone.now()
    made = Grant(
        id=new_id(), agent=rows.grant.agent, user=None, scopes=[HOSTILE, "NULL", ""], operation_digest="d",
        authorization_details=[{"type": HOSTILE, "none": None}], created_at=now, expires_at=now, request_id=new_id(),
        agent_epoch=3,
    )  # fmt: skip
    insert([made])
    found = Grant.objects.get(pk=made.pk)
    columns = [field.attname for field in Grant._meta.concrete_fields]
    assert [getattr(found, name) for name in columns] == [getattr(made, name) for name in columns]
    key = SigningKey(kid=HOSTILE[:43], algorithm="ES256", public_jwk={"a": HOSTILE}, sealed_private_jwk=b"\\x%s\x00",
                     created_at=now, active_at=now)  # fmt: skip
    insert([key])
    stored = SigningKey.objects.get(kid=key.kid)
    assert (stored.public_jwk, bytes(stored.sealed_private_jwk)) == (key.public_jwk, key.sealed_private_jwk)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("text", HOSTILE), ("text", Grant.__name__), ("boolean", True), ("boolean", False), ("integer", -7),
        ("bigint", 2**62), ("double precision", 1.1), ("numeric", Decimal("1.10")), ("date", date(2024, 2, 29)),
        ("uuid", UUID(int=5)), ("timestamptz", datetime(2024, 1, 2, 3, 4, 5, 678, tzinfo=UTC)),
        ("bytea", b"\x00\xff'\\"), ("text[]", ["a", None, HOSTILE, "", "NULL"]), ("text[]", []),
        ("integer[]", [[1, 2], [3, 4]]), ("uuid[]", [UUID(int=5)]), ("bytea[]", [b"\x00'"]),
        ("interval", timedelta(1, 2, 3)),
    ],
)  # fmt: skip
def test_each_type_reaches_postgresql_and_comes_back(kind: str, value: Any) -> None:
    assert execute(Statement(f"SELECT %s::{kind}"), [value]).fetchone() == (value,)
    assert execute(Statement(f"SELECT %s::{kind}, %s::int"), [None, 1]).fetchone() == (None, 1)


def test_json_and_choices_are_texts() -> None:
    assert text_of(Jsonb({"a": [1, None]})) == '{"a": [1, null]}'
    assert type(text_of(Risk.ROUTINE)) is str and text_of(Risk.ROUTINE) == "routine"
