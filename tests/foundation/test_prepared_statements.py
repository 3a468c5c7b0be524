"""Statements are prepared once per connection, and a connection that has lost them prepares them again."""

import os
from collections.abc import Iterator
from typing import Any, LiteralString

import psycopg
import pytest
from django.db import DataError, IntegrityError, NotSupportedError, OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from foundation.prepared_statements import Statement, execute

pytestmark = pytest.mark.django_db(transaction=True)

ONE = Statement("SELECT %s::text, '%%'")


def prepared() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement FROM pg_prepared_statements")
        return [text for (text,) in cursor.fetchall()]


def test_a_statement_is_prepared_once_whatever_its_values_are() -> None:
    for value in ("a", None, 1, 2**40, True, b"x", ["a"]):
        execute(ONE, [value])
    assert prepared().count("SELECT $1::text, '%'") == 1
    assert execute(ONE, ["%s"]).fetchall() == [("%s", "%")]


def test_nothing_of_django_is_prepared(user: User) -> None:
    before = prepared()
    for _ in range(20):
        User.objects.get(pk=user.pk)
    assert prepared() == before


def test_each_connection_plans_without_values_and_compiles_nothing() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('plan_cache_mode'), current_setting('jit')")
        assert cursor.fetchone() == ("force_generic_plan", "off")


def test_a_transaction_that_is_rolled_back_costs_no_answer() -> None:
    with transaction.atomic():
        execute(ONE, ["a"])
        transaction.set_rollback(True)
    assert execute(ONE, ["b"]).fetchall() == [("b", "%")]


def test_after_an_error_inside_a_savepoint_the_transaction_goes_on() -> None:
    with transaction.atomic():
        with pytest.raises(DataError), transaction.atomic():
            execute(Statement("SELECT %s::int"), ["no number"])
        assert execute(ONE, ["b"]).fetchall() == [("b", "%")]


def test_errors_are_those_of_django(user: User) -> None:
    with pytest.raises(IntegrityError):
        execute(Statement("UPDATE accounts_user SET email = NULL WHERE id = %s"), [user.pk])
    with pytest.raises(DataError):
        execute(ONE, ["\x00"])


def test_inside_a_broken_transaction_nothing_is_executed() -> None:
    with transaction.atomic():
        transaction.set_rollback(True)
        with pytest.raises(transaction.TransactionManagementError):
            execute(ONE, ["a"])


def test_a_connection_that_was_cut_is_replaced(user: User) -> None:
    execute(ONE, ["a"])
    connection.connection.pgconn.finish()
    with pytest.raises(OperationalError):
        execute(ONE, ["a"])
    connection.close_if_unusable_or_obsolete()
    assert execute(ONE, ["a"]).fetchall() == [("a", "%")]


def test_the_log_and_the_wrappers_see_every_statement() -> None:
    seen: list[Any] = []

    def wrap(then: Any, sql: str, values: Any, many: bool, context: Any) -> Any:
        seen.append((sql, values))
        return then(sql, values, many, context)

    with CaptureQueriesContext(connection) as captured, connection.execute_wrapper(wrap):
        execute(ONE, ["it's"])
    assert [query["sql"] for query in captured.captured_queries] == ["SELECT 'it''s'::text, '%'"]
    assert seen == [("SELECT %s::text, '%%'", ["it's"])]
    assert "SELECT $1::text, '%'" in prepared()


class TestAStatementThatHasBecomeInvalid:
    """By a migration under a running process, or behind a pooler that gives the connection another server."""

    @pytest.fixture
    def table(self) -> Iterator[Statement]:
        self.migrate("CREATE TABLE changing AS SELECT 1 AS a; GRANT SELECT ON changing TO PUBLIC")
        statement = Statement("SELECT a FROM changing WHERE a::text = %s")
        execute(statement, ["1"])
        yield statement
        self.migrate("DROP TABLE changing")

    def migrate(self, sql: LiteralString) -> None:
        with psycopg.connect(os.environ["DATABASE_OWNER_URL"]) as owner:
            owner.execute("SET lock_timeout = '10s'")
            owner.execute(sql)

    def test_is_prepared_again(self, table: Statement) -> None:
        self.migrate("ALTER TABLE changing ALTER a TYPE text")
        assert execute(table, ["1"]).fetchall() == [("1",)]
        connection.connection.pgconn.exec_(b"DEALLOCATE ALL")  # psycopg does not notice it
        assert execute(table, ["1"]).fetchall() == [("1",)]

    def test_costs_one_transaction(self, table: Statement) -> None:
        self.migrate("ALTER TABLE changing ALTER a TYPE text")
        with pytest.raises(NotSupportedError, match="result type"), transaction.atomic():
            execute(table, ["1"])
        with transaction.atomic():
            assert execute(table, ["1"]).fetchall() == [("1",)]

    def test_a_new_column_changes_nothing(self, table: Statement) -> None:
        self.migrate("ALTER TABLE changing ADD b int")
        with transaction.atomic():
            assert execute(table, ["1"]).fetchall() == [(1,)]
