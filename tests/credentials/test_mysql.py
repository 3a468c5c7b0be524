"""MariaDB as a connected system: what the engine promises, on a real server."""

import secrets
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pymysql
import pytest
from jsonschema import Draft202012Validator

from credentials.engines import (
    BackendAddress,
    BackendUnreachable,
    DatabaseAccount,
    EngineError,
    SessionTrace,
    find_can_leave_behind,
    find_left_behind,
)
from credentials.engines.mysql import ENGINE, MysqlLink
from tests.support.mariadb import MariaDb

TRACE = SessionTrace("3f0c", "agent-1", "person-1", "grant-1")
READ_ORDERS = {"grants": [{"privileges": ["SELECT"], "database": "shop_1", "table": "orders"}]}


@pytest.fixture
def server(mysql_server: MariaDb) -> MariaDb:
    return mysql_server


@pytest.fixture
def target(server: MariaDb) -> BackendAddress:
    return server.target


@pytest.fixture
def link(target: BackendAddress) -> Iterator[MysqlLink]:
    link = ENGINE.connect(target)
    yield link
    link.close()


@pytest.fixture
def account(server: MariaDb) -> Iterator[DatabaseAccount]:
    name = f"cs_{secrets.token_hex(6)}"
    yield DatabaseAccount(name, READ_ORDERS, datetime.now(UTC) + timedelta(minutes=5), TRACE)
    server.rows("DROP USER IF EXISTS %s@'%%'", name)


PASSWORD = "Ab3-dE5_gH7iJ9kL1mN3oP5qR7sT9u"


def reads(server: MariaDb, account: DatabaseAccount, statement: str, password: str = PASSWORD) -> Any:
    with server.connect(account.name, password) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall()


def test_an_account_does_what_its_role_gives_and_nothing_else(
    server: MariaDb, link: MysqlLink, account: DatabaseAccount
) -> None:
    link.create(account, PASSWORD)
    assert reads(server, account, "SELECT id FROM shop_1.orders ORDER BY id") == ((1,), (2,))
    for beyond in (
        "INSERT INTO shop_1.orders VALUES (3)",
        "SELECT id FROM shop_1.people",
        "SELECT id FROM shopA1.orders",
        "SELECT User FROM mysql.user",
        "CREATE USER another@'%' IDENTIFIED BY 'x'",
        "GRANT SELECT ON shop_1.orders TO another@'%'",
        "CREATE VIEW shop_1.mine AS SELECT 1",
        "CREATE EVENT shop_1.later ON SCHEDULE EVERY 1 DAY DO SELECT 1",
    ):
        with pytest.raises(pymysql.MySQLError):
            reads(server, account, beyond)
    presence = link.verify(account.name)
    assert (presence.exists, presence.can_log_in) == (True, True)


def test_a_whole_database_is_that_database_alone(server: MariaDb, link: MysqlLink, account: DatabaseAccount) -> None:
    """An underscore is a wildcard in the database's name of a GRANT."""
    whole = replace(account, settings={"grants": [{"privileges": ["SELECT"], "database": "shop_1"}]})
    link.create(whole, PASSWORD)
    assert reads(server, account, "SELECT COUNT(*) FROM shop_1.people") == ((0,),)
    with pytest.raises(pymysql.MySQLError):
        reads(server, account, "SELECT id FROM shopA1.orders")


def test_nobody_gets_in_without_the_password(server: MariaDb, link: MysqlLink, account: DatabaseAccount) -> None:
    link.create(account, PASSWORD)
    for wrong in ("x", PASSWORD[:-1], link._proof(PASSWORD)):
        with pytest.raises(pymysql.MySQLError, match="Access denied"):
            reads(server, account, "SELECT 1", wrong)


def test_revocation_ends_the_open_session_before_it_returns(
    server: MariaDb, link: MysqlLink, account: DatabaseAccount
) -> None:
    link.create(account, PASSWORD)
    with server.connect(account.name, PASSWORD) as session, session.cursor() as cursor:
        cursor.execute("SELECT 1")
        link.revoke(account)
        with pytest.raises(pymysql.MySQLError):
            cursor.execute("SELECT 1")
    assert link.verify(account.name).is_gone
    assert server.rows("SELECT COUNT(*) FROM mysql.global_priv WHERE User = %s", account.name) == [(0,)]
    assert server.rows("SELECT COUNT(*) FROM mysql.tables_priv WHERE User = %s", account.name) == [(0,)]
    with pytest.raises(pymysql.MySQLError, match="Access denied"):
        reads(server, account, "SELECT 1")


def test_revocation_ends_a_statement_that_is_running(
    server: MariaDb, link: MysqlLink, account: DatabaseAccount
) -> None:
    link.create(account, PASSWORD)
    ended = threading.Event()

    def run() -> None:
        with pytest.raises(pymysql.MySQLError):
            reads(server, account, "SELECT SLEEP(15) FROM shop_1.orders")
        ended.set()

    thread = threading.Thread(target=run)
    thread.start()
    while not link.verify(account.name).sessions:
        pass
    link.revoke(account)
    assert ended.wait(2)
    thread.join()
    assert link.verify(account.name).is_gone


def test_half_an_account_cannot_log_in_and_is_revoked(
    server: MariaDb, link: MysqlLink, account: DatabaseAccount
) -> None:
    """As after a crash in the middle: the grants fail, and what is left is locked."""
    broken = replace(account, settings={"grants": [{"privileges": ["SELECT"], "database": "not_ours"}]})
    with pytest.raises(EngineError):
        link.create(broken, PASSWORD)
    presence = link.verify(account.name)
    assert (presence.exists, presence.can_log_in) == (True, False)
    with pytest.raises(pymysql.MySQLError):
        reads(server, account, "SELECT 1")
    link.revoke(account)
    assert link.verify(account.name).is_gone


def test_only_our_prefix_is_listed(server: MariaDb, link: MysqlLink, account: DatabaseAccount) -> None:
    link.create(account, PASSWORD)
    server.rows("CREATE USER csXother@'%' IDENTIFIED BY 'x'")  # the underscore of cs_ is no wildcard here either
    assert account.name in link.list_owned("cs_")
    assert "csXother" not in link.list_owned("cs_")
    server.rows("DROP USER csXother@'%'")


def test_names_from_an_administrator_are_names_and_no_statements(
    server: MariaDb, link: MysqlLink, account: DatabaseAccount
) -> None:
    odd = "o`r%d'er\"s; DROP"
    server.rows("CREATE TABLE shop_1.`o``r%d'er\"s; DROP` (id INT)")
    try:
        link.create(replace(account, settings={"grants": [
            {"privileges": ["SELECT"], "database": "shop_1", "table": odd}]}), PASSWORD)  # fmt: skip
        assert reads(server, account, "SELECT * FROM shop_1.`o``r%d'er\"s; DROP`") == ()
    finally:
        server.rows("DROP TABLE shop_1.`o``r%d'er\"s; DROP`")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({}, "no grants"),
        ({"grants": []}, "an empty list"),
        ({"grants": [{"privileges": ["ALL PRIVILEGES"], "database": "shop"}]}, "everything"),
        ({"grants": [{"privileges": ["TRIGGER"], "database": "shop"}]}, "what outlives the account"),
        ({"grants": [{"privileges": ["SELECT, SUPER"], "database": "shop"}]}, "two in one word"),
        ({"grants": [{"privileges": ["SELECT"], "database": "a.b"}]}, "a dot in a name"),
        ({"grants": [{"privileges": ["SELECT"], "database": "a\\_"}]}, "a backslash, which would undo the escaping"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_role_that_gives_too_much_is_refused(settings: dict[str, Any], reason: str) -> None:
    assert list(Draft202012Validator(ENGINE.role_schema).iter_errors(settings)), reason


def test_the_servers_own_database_is_never_issued() -> None:
    problems = ENGINE.problems_with_role({"grants": [{"privileges": ["SELECT"], "database": "MySQL"}]})
    assert problems == ["Countersign issues no leases for the server's own database mysql."]


def test_the_password_is_in_no_log_of_the_server(server: MariaDb, link: MysqlLink, account: DatabaseAccount) -> None:
    server.rows("SET GLOBAL log_output = 'TABLE', GLOBAL general_log = ON")
    try:
        link.create(account, PASSWORD)
        link.set_password(account, "another-" + PASSWORD)
    finally:
        server.rows("SET GLOBAL general_log = OFF")
    logged = " ".join(
        str(row[0]) for row in server.rows("SELECT CONVERT(argument USING utf8mb4) FROM mysql.general_log")
    )
    assert account.name in logged
    assert PASSWORD not in logged


def test_what_our_administrator_need_not_have_is_said(server: MariaDb, target: BackendAddress, link: MysqlLink) -> None:
    assert link.excess_rights() == []
    server.rows("GRANT FILE, SUPER ON *.* TO lease_admin@'%'")
    generous = ENGINE.connect(target)
    assert generous.excess_rights() == ["it has SUPER on the whole server", "it has FILE on the whole server"]
    generous.close()


def test_a_link_whose_server_went_away_is_unreachable(server: MariaDb, link: MysqlLink) -> None:
    server.rows(f"KILL CONNECTION {link._connection.thread_id()}")
    with pytest.raises(BackendUnreachable):
        link.verify("anybody")


def test_connection_facts_hold_no_secret(target: BackendAddress, account: DatabaseAccount) -> None:
    facts = ENGINE.connection_facts(target, account)
    assert facts == {"host": "127.0.0.1", "port": target.settings["port"], "databases": ["shop_1"], "tls": False}


# --- an administrator that may make and drop accounts, and may not see or end the sessions of others


@pytest.fixture
def blind(server: MariaDb) -> Iterator[BackendAddress]:
    with server.administrator("CREATE USER") as target:
        yield target


def test_an_administrator_who_sees_no_sessions_confirms_nothing(
    server: MariaDb, link: MysqlLink, account: DatabaseAccount, blind: BackendAddress
) -> None:
    """The server lists one's own sessions alone, and does not say so: what works on would be called gone."""
    link.create(account, PASSWORD)
    with server.connect(account.name, PASSWORD) as session, session.cursor() as cursor:
        cursor.execute("SELECT 1")
        other = ENGINE.connect(blind)
        with pytest.raises(EngineError, match="grant it PROCESS"):
            other.verify(account.name)
        with pytest.raises(EngineError, match="grant it PROCESS"):
            other.revoke(account)
        other.close()
        cursor.execute("SELECT 1")
        there = link.verify(account.name)
        assert (there.exists, there.can_log_in, there.sessions) == (True, False, 1), "nobody else comes in meanwhile"
        link.revoke(account)
    assert link.verify(account.name).is_gone


def test_an_administrator_who_sees_no_sessions_makes_nothing(
    server: MariaDb, link: MysqlLink, account: DatabaseAccount, blind: BackendAddress
) -> None:
    other = ENGINE.connect(blind)
    with pytest.raises(EngineError, match="grant it PROCESS"):
        other.create(account, PASSWORD)
    other.close()
    assert link.verify(account.name).is_gone


def test_rights_lost_later_are_missed_by_the_next_connection(
    server: MariaDb, link: MysqlLink, account: DatabaseAccount
) -> None:
    """The server gives and takes them with a login: what a connection may see it goes on seeing, and no more."""
    link.create(account, PASSWORD)
    with server.administrator("CREATE USER, PROCESS") as target:
        seeing = ENGINE.connect(target)
        server.rows("REVOKE PROCESS ON *.* FROM %s@'%%'", target.settings["user"])
        blind = ENGINE.connect(target)
        server.rows("GRANT PROCESS ON *.* TO %s@'%%'", target.settings["user"])
        with server.connect(account.name, PASSWORD):
            assert seeing.verify(account.name).sessions == 1
            with pytest.raises(EngineError, match="grant it PROCESS"):
                blind.verify(account.name)
        seeing.close()
        blind.close()


def test_an_administrator_who_may_end_no_sessions_takes_nothing_back(
    server: MariaDb, link: MysqlLink, account: DatabaseAccount
) -> None:
    link.create(account, PASSWORD)
    with server.administrator("CREATE USER, PROCESS") as target, server.connect(account.name, PASSWORD) as session:
        session.ping(reconnect=False)
        other = ENGINE.connect(target)
        with pytest.raises(EngineError, match="KILL_DENIED_ERROR"):
            other.revoke(account)
        assert other.verify(account.name).sessions == 1
        other.close()


WRITES = {"grants": [{"privileges": ["SELECT", "INSERT", "CREATE"], "database": "shop_1"}]}


@pytest.mark.parametrize("number", [1, 2], ids=["one", "two"])
def test_prepared_transactions_are_reported(
    server: MariaDb, link: MysqlLink, account: DatabaseAccount, number: int
) -> None:
    """They outlive session and account, with their locks, and nothing says whose they are."""
    account = replace(account, settings=WRITES)
    link.create(account, PASSWORD)
    assert find_left_behind(link, account) == []
    ids = [f"left-{one}" for one in range(number)]
    try:
        for row, one in enumerate(ids, start=98):
            with server.connect(account.name, PASSWORD) as session, session.cursor() as cursor:
                cursor.execute("XA START %s", [one])
                cursor.execute("INSERT INTO shop_1.orders VALUES (%s)", [row])
                cursor.execute("XA END %s", [one])
                cursor.execute("XA PREPARE %s", [one])
        link.revoke(account)
        assert link.verify(account.name).is_gone
        found = find_left_behind(link, account)
        assert len(found) == number and all(one in " ".join(found) for one in ids)
    finally:
        for one in ids:
            server.rows(f"XA ROLLBACK '{one}'")
    assert find_left_behind(link, account) == []


def test_that_tables_stay_is_said(link: MysqlLink, account: DatabaseAccount) -> None:
    (found,) = find_can_leave_behind(link, replace(account, settings=WRITES))
    assert "`shop\\_1`.*" in found
    assert find_can_leave_behind(link, account) == []
