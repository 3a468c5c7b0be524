"""PostgreSQL: what an account can do, what it cannot, and what becomes of what it made."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from credentials.engines import BackendAddress, BackendUnreachable, EngineError, find_can_leave_behind, find_left_behind
from credentials.engines.postgres import ENGINE
from tests.support.systems import PostgresServer, System, drop_everything

WRITER = {"groups": ["orders_writer"]}


@pytest.fixture(params=["lease_admin", "postgres"])
def system(request: pytest.FixtureRequest, postgres_server: PostgresServer) -> Any:
    yield postgres_server.system(request.param)
    drop_everything(postgres_server)


@pytest.fixture
def lease_admin(postgres_server: PostgresServer) -> Any:
    yield postgres_server.system("lease_admin")
    drop_everything(postgres_server)


def make_things(server: PostgresServer, name: str, password: str, database: str = "orders") -> None:
    with server.connect(name, password, database) as session:
        for statement in (
            "CREATE TABLE public.notes (id serial PRIMARY KEY, text text)",
            "INSERT INTO public.notes (text) VALUES ('kept')",
            "CREATE VIEW public.peek AS SELECT * FROM public.orders",
            "CREATE FUNCTION public.run() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'",
            "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO PUBLIC",
            "GRANT SELECT ON public.notes TO orders_reader",
        ):
            session.execute(statement)


def test_what_it_owned_in_two_databases_is_dropped(system: System, postgres_server: PostgresServer) -> None:
    """Owned objects, sequences, default privileges, grants made on."""
    account, password = system.issue_lease(**WRITER)
    for database in ("orders", "archive"):
        make_things(postgres_server, account.name, password, database)
    system.take_back(account)
    with system.link() as link:
        assert link.verify(account.name).is_gone
    for database in ("orders", "archive"):
        made = "SELECT count(*) FROM pg_class WHERE relname IN ('notes', 'peek', 'notes_id_seq')"
        assert postgres_server.one(made, database=database) == 0
        assert postgres_server.one("SELECT count(*) FROM pg_default_acl", database=database) == 0


def test_reassigned_is_the_data_and_not_what_runs_with_its_owners_rights(
    lease_admin: System, postgres_server: PostgresServer
) -> None:
    """A view or a function under a new owner would hand that owner's rights to whoever made it."""
    account, password = lease_admin.issue_lease(**WRITER, objects="reassign", reassign_to="orders_owner")
    make_things(postgres_server, account.name, password)
    with postgres_server.connect(account.name, password) as session:
        session.execute("CREATE RULE sly AS ON INSERT TO public.notes DO ALSO DELETE FROM public.orders")
    lease_admin.take_back(account)
    try:
        owner = "SELECT relowner::regrole::text FROM pg_class WHERE relname = 'notes'"
        assert postgres_server.one(owner, database="orders") == "orders_owner"
        assert postgres_server.one("SELECT text FROM notes", database="orders") == "kept"
        for gone in (
            "SELECT count(*) FROM pg_class WHERE relname = 'peek'",
            "SELECT count(*) FROM pg_proc WHERE proname = 'run'",
            "SELECT count(*) FROM pg_rewrite WHERE rulename = 'sly'",
        ):
            assert postgres_server.one(gone, database="orders") == 0
    finally:
        with postgres_server.superuser("orders") as connection:
            connection.execute("DROP TABLE IF EXISTS notes")


def test_an_administrator_inherits_nothing(postgres_server: PostgresServer) -> None:
    """The account stays, and cannot log in: visible, and harmless."""
    system = postgres_server.system("postgres")
    account, password = system.issue_lease(**WRITER, objects="reassign", reassign_to="postgres")
    make_things(postgres_server, account.name, password)
    with pytest.raises(EngineError, match="must not inherit objects"):
        system.take_back(account)
    with system.link() as link:
        assert link.verify(account.name).is_harmless
    drop_everything(postgres_server)


def test_what_others_built_on_it_is_not_dropped_with_it(lease_admin: System, postgres_server: PostgresServer) -> None:
    account, password = lease_admin.issue_lease(**WRITER)
    with postgres_server.connect(account.name, password) as session:
        session.execute("CREATE TABLE public.notes (id int)")
    with postgres_server.superuser("orders") as connection:
        connection.execute("CREATE VIEW relies AS SELECT * FROM notes")
    try:
        with pytest.raises(EngineError):
            lease_admin.take_back(account)
        with lease_admin.link() as link:
            assert link.verify(account.name).is_harmless
    finally:
        with postgres_server.superuser("orders") as connection:
            connection.execute("DROP VIEW relies")
    lease_admin.take_back(account)
    with lease_admin.link() as link:
        assert link.verify(account.name).is_gone


def test_names_with_quotes_in_what_it_made_are_only_names(lease_admin: System, postgres_server: PostgresServer) -> None:
    account, password = lease_admin.issue_lease(**WRITER, objects="reassign", reassign_to="orders_owner")
    sly = 'x"; ALTER ROLE lease_admin SUPERUSER; --{} %s'
    with postgres_server.connect(account.name, password) as session:
        name = psycopg.sql.Identifier(sly)
        session.execute(psycopg.sql.SQL("CREATE VIEW public.{} AS SELECT 1 AS one").format(name))
        made = psycopg.sql.SQL("CREATE FUNCTION public.{}() RETURNS int LANGUAGE sql AS 'SELECT 1'")
        session.execute(made.format(name))
    lease_admin.take_back(account)
    assert postgres_server.one("SELECT rolsuper FROM pg_roles WHERE rolname = 'lease_admin'") is False
    assert postgres_server.one("SELECT count(*) FROM pg_roles WHERE rolname = %s", account.name) == 0


@pytest.mark.parametrize(
    "statement",
    [
        "SET ROLE orders_owner",
        "SET ROLE orders_writer",  # its own group: what is made as the group would stay
        "SET ROLE lease_admin",
        "SET SESSION AUTHORIZATION lease_admin",
        "CREATE ROLE more",
        "ALTER ROLE lease_admin PASSWORD 'x'",
        "GRANT orders_owner TO CURRENT_USER",
        "GRANT orders_writer TO orders_reader",
        "ALTER ROLE CURRENT_USER VALID UNTIL 'infinity'",
        "ALTER ROLE CURRENT_USER CONNECTION LIMIT 1000",
        "CREATE DATABASE more",
        "SELECT * FROM pg_authid",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'lease_admin'",
        "SELECT pg_read_file('/etc/passwd')",
        "COPY orders TO PROGRAM 'id'",
        "ALTER TABLE orders OWNER TO CURRENT_USER",
        "DROP TABLE orders",
    ],
)
def test_an_account_gets_no_further(lease_admin: System, postgres_server: PostgresServer, statement: str) -> None:
    account, password = lease_admin.issue_lease(**WRITER)
    with postgres_server.connect(account.name, password) as session, lease_admin.link():
        with pytest.raises(psycopg.Error) as raised:
            session.execute(statement)
        assert raised.value.sqlstate in ("42501", "0A000"), raised.value
    lease_admin.take_back(account)


def test_only_the_databases_of_its_groups_let_it_in(lease_admin: System, postgres_server: PostgresServer) -> None:
    with postgres_server.superuser() as connection:
        connection.execute("CREATE DATABASE closed")
        connection.execute("REVOKE CONNECT ON DATABASE closed FROM PUBLIC")
    account, password = lease_admin.issue_lease()
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        postgres_server.connect(account.name, password, "closed")
    with pytest.raises(psycopg.OperationalError, match="password"):
        postgres_server.connect(account.name, "")
    lease_admin.take_back(account)


def test_it_takes_no_more_connections_than_it_may(lease_admin: System, postgres_server: PostgresServer) -> None:
    account, password = lease_admin.issue_lease(connection_limit=1)
    with (
        postgres_server.connect(account.name, password),
        pytest.raises(psycopg.OperationalError, match="too many connections"),
    ):
        postgres_server.connect(account.name, password)
    lease_admin.take_back(account)


def test_the_systems_own_expiry_is_the_second_line(lease_admin: System, postgres_server: PostgresServer) -> None:
    account, _ = lease_admin.issue_lease()
    until = postgres_server.one("SELECT rolvaliduntil FROM pg_roles WHERE rolname = %s", account.name)
    assert until == account.valid_until
    lease_admin.take_back(account)


def test_no_table_names_an_account_and_nothing_grows(lease_admin: System, postgres_server: PostgresServer) -> None:
    """2,000 issues and revokes: `make bench-leases`; here enough of them to see one that stays."""
    sizes = []
    for _ in range(2):
        for _ in range(25):
            account, _ = lease_admin.issue_lease()
            lease_admin.take_back(account)
        with postgres_server.superuser() as connection:
            connection.execute("VACUUM pg_authid")
            size = "SELECT count(*), pg_relation_size('pg_authid') FROM pg_authid"
            sizes.append(connection.execute(size).fetchone())
    assert sizes[0] == sizes[1]
    with postgres_server.superuser("orders") as connection:
        acls = connection.execute("SELECT relacl::text FROM pg_class WHERE relacl IS NOT NULL").fetchall()
        orders = [acl for (acl,) in acls if "orders_reader" in acl]
        assert orders and not any("cs_" in acl for (acl,) in acls)
        assert connection.execute("SELECT count(*) FROM pg_db_role_setting").fetchone() == (0,)
        assert connection.execute(
            "SELECT count(*) FROM pg_shdescription WHERE description LIKE 'countersign%'"
        ).fetchone() == (0,)


def prepare(server: PostgresServer, name: str, password: str) -> None:
    with server.connect(name, password) as session:
        session.execute("BEGIN")
        session.execute("INSERT INTO orders VALUES (3, 'prepared')")
        session.execute("PREPARE TRANSACTION 'left behind'")


def test_prepared_transactions_do_not_outlive_it(postgres_server: PostgresServer) -> None:
    """They hold locks without a session. Only a superuser may roll back another's."""
    system = postgres_server.system("postgres")
    account, password = system.issue_lease(**WRITER)
    prepare(postgres_server, account.name, password)
    system.take_back(account)
    assert postgres_server.one("SELECT count(*) FROM pg_prepared_xacts") == 0


def test_where_a_prepared_transaction_cannot_be_rolled_back_the_account_stays_harmless(
    lease_admin: System, postgres_server: PostgresServer
) -> None:
    account, password = lease_admin.issue_lease(**WRITER)
    prepare(postgres_server, account.name, password)
    with lease_admin.link() as link:
        with pytest.raises(EngineError):
            link.revoke(account)
        assert link.verify(account.name).is_harmless
    with postgres_server.superuser("orders") as connection:
        connection.execute("ROLLBACK PREPARED 'left behind'")
    lease_admin.take_back(account)


def test_settings_of_a_role_are_checked() -> None:
    assert ENGINE.problems_with_role({"groups": ["a"], "objects": "reassign"})
    assert ENGINE.problems_with_role({"groups": ["a"], "reassign_to": "b"})
    assert not ENGINE.problems_with_role({"groups": ["a"]})


def test_what_the_administrator_can_do_beyond_need_is_said(postgres_server: PostgresServer) -> None:
    with postgres_server.system("lease_admin").link() as link:
        assert link.excess_rights() == []
    with postgres_server.system("postgres").link() as link:
        assert "It is a superuser." in link.excess_rights()


def test_sessions_are_seen_by_whoever_looks(lease_admin: System, postgres_server: PostgresServer) -> None:
    """The server hides from others what a session does, not whose it is: none seen is none there."""
    account, password = lease_admin.issue_lease()
    with postgres_server.superuser() as connection:
        connection.execute("CREATE ROLE onlooker LOGIN PASSWORD 'looks'")
        connection.execute("GRANT CONNECT ON DATABASE orders TO onlooker")
    try:
        with (
            postgres_server.connect(account.name, password),
            closing(ENGINE.connect(BackendAddress(postgres_server.settings("onlooker"), "looks"))) as link,
        ):
            there = link.verify(account.name)
            assert (there.exists, there.can_log_in, there.sessions) == (True, True, 1)
            with pytest.raises(EngineError, match="42501"):
                link.revoke(account)
    finally:
        with postgres_server.superuser() as connection:
            connection.execute("REVOKE CONNECT ON DATABASE orders FROM onlooker")
            connection.execute("DROP ROLE onlooker")


GROUPS_DEFAULT = "ALTER DEFAULT PRIVILEGES FOR ROLE orders_writer GRANT ALL ON TABLES TO PUBLIC"
SCHEMAS_DEFAULT = (
    "ALTER DEFAULT PRIVILEGES FOR ROLE orders_writer IN SCHEMA public GRANT EXECUTE ON FUNCTIONS TO orders_reader"
)


@pytest.fixture
def no_default_privileges(postgres_server: PostgresServer) -> Iterator[None]:
    yield
    for database in ("orders", "archive"):
        with postgres_server.superuser(database) as connection:
            connection.execute("ALTER DEFAULT PRIVILEGES FOR ROLE orders_writer REVOKE ALL ON TABLES FROM PUBLIC")
            connection.execute(
                "ALTER DEFAULT PRIVILEGES FOR ROLE orders_writer IN SCHEMA public"
                " REVOKE EXECUTE ON FUNCTIONS FROM orders_reader"
            )


@pytest.mark.parametrize(
    ("statement", "database", "words"),
    [
        (GROUPS_DEFAULT, "orders", "for tables"),
        (GROUPS_DEFAULT, "archive", "for tables"),
        (SCHEMAS_DEFAULT, "orders", "for functions in the schema public"),
    ],
)
def test_default_privileges_of_the_group_are_reported(
    lease_admin: System, postgres_server: PostgresServer, no_default_privileges: None, statement: str, database: str,
    words: str,
) -> None:  # fmt: skip
    """They are the group's: revoking the account does not end them, and nothing says who set them."""
    account, password = lease_admin.issue_lease(**WRITER)
    with lease_admin.link() as link:
        assert find_left_behind(link, account) == []
    with postgres_server.connect(account.name, password, database) as session:
        session.execute(statement)
    lease_admin.take_back(account)
    with lease_admin.link() as link:
        assert link.verify(account.name).is_gone
        (found,) = find_left_behind(link, account)
        assert find_left_behind(link, lease_admin.account()) == [], "another group's role is not concerned"
    assert f"The group orders_writer has default privileges in the database {database}, {words}" in found


@pytest.mark.parametrize("to", ["the account itself", "another account"])
def test_default_privileges_that_name_an_account_end_with_it(
    lease_admin: System, postgres_server: PostgresServer, no_default_privileges: None, to: str
) -> None:
    account, password = lease_admin.issue_lease(**WRITER)
    other, _ = lease_admin.issue_lease(**WRITER)
    holder_of = account if to == "the account itself" else other
    with postgres_server.connect(account.name, password) as session:
        session.execute(f"ALTER DEFAULT PRIVILEGES FOR ROLE orders_writer GRANT ALL ON TABLES TO {holder_of.name}")
    for one in (account, other):
        lease_admin.take_back(one)
    with lease_admin.link() as link:
        assert find_left_behind(link, account) == []


@pytest.mark.parametrize("objects", ["drop", "cascade"])
def test_more_large_objects_than_the_server_has_locks_for(
    system: System, postgres_server: PostgresServer, objects: str
) -> None:
    """An account may make them in every database that lets it in, and no quota stops it."""
    account, password = system.issue_lease(**WRITER, objects=objects)
    for database in ("orders", "archive"):
        with postgres_server.connect(account.name, password, database) as session:
            session.execute("SELECT lo_create(0) FROM generate_series(1, 50000)")
            session.execute("SELECT lo_put(oid, 0, 'x') FROM pg_largeobject_metadata LIMIT 10")
    system.take_back(account)
    with system.link() as link:
        assert link.verify(account.name).is_gone
    for database in ("orders", "archive"):
        assert postgres_server.one("SELECT count(*) FROM pg_largeobject_metadata", database=database) == 0


MANY = 1500  # tables: with what belongs to them about ten times as many locks, and the server has a fifth of that


def make_many(server: PostgresServer, name: str, password: str, count: int = MANY) -> None:
    """Tables and more that depend on each other in both directions, so that no order of theirs is the right one."""
    with server.connect(name, password) as session:
        session.execute("CREATE TYPE public.mood AS ENUM ('good'); CREATE DOMAIN public.small AS int CHECK (value < 9)")
        session.execute("CREATE TYPE public.span AS RANGE (subtype = int)")
        for first in range(0, count, 50):
            session.execute(
                f"DO $$ BEGIN FOR i IN {first}..{first + 49} LOOP EXECUTE format('CREATE TABLE public.%I"
                " (id serial PRIMARY KEY, mood public.mood, small public.small, span public.span, text text)',"
                " 'Many \"' || i); END LOOP; END $$"
            )
        last = f'public."Many ""{count - 1}"'
        for statement in (
            f'ALTER TABLE public."Many ""0" ADD FOREIGN KEY (id) REFERENCES {last} (id)',
            f"CREATE FUNCTION public.of({last}) RETURNS int LANGUAGE sql AS 'SELECT 1'",
            f"CREATE VIEW public.over AS SELECT public.of(m) FROM {last} m",  # noqa: S608
            f'ALTER TABLE {last} ADD looks int DEFAULT nextval(\'public."Many ""0_id_seq"\')',
        ):
            session.execute(statement)


HOW_MANY = "SELECT count(*) FROM pg_class WHERE relname LIKE 'Many%%' AND relkind IN ('r', 'S', 'v')"


@pytest.mark.parametrize("objects", ["drop", "cascade"])
def test_more_tables_than_the_server_has_locks_for(
    lease_admin: System, postgres_server: PostgresServer, objects: str
) -> None:
    account, password = lease_admin.issue_lease(**WRITER, objects=objects)
    make_many(postgres_server, account.name, password)
    until_done(lease_admin, account)
    assert postgres_server.one(HOW_MANY, database="orders") == 0
    assert postgres_server.one("SELECT count(*) FROM pg_type WHERE typname IN ('mood', 'small', 'span')") == 0


def until_done(system: System, account: Any) -> None:
    """As the sweeper does it: an attempt ends in time, and the next one continues."""
    for _ in range(20):
        try:
            return system.take_back(account)
        except EngineError as error:
            if "are not dropped yet: the next attempt continues" not in str(error):
                raise
    raise AssertionError("it does not end")


def test_an_attempt_ends_in_time_and_the_next_one_continues(
    lease_admin: System, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("credentials.engines.postgres_objects.MAX_AT_ONCE", 5)
    monkeypatch.setattr("credentials.engines.postgres.DROP_TIME_S", -1)
    account, password = lease_admin.issue_lease(**WRITER)
    make_many(postgres_server, account.name, password, 50)
    with pytest.raises(EngineError, match=r"^10\d of its objects are not dropped yet: the next attempt continues$"):
        lease_admin.take_back(account)
    with lease_admin.link() as link:
        assert not link.verify(account.name).can_log_in
    monkeypatch.setattr("credentials.engines.postgres.DROP_TIME_S", 60)
    lease_admin.take_back(account)
    assert postgres_server.one(HOW_MANY, database="orders") == 0


def test_of_many_objects_those_stay_that_something_else_depends_on(
    lease_admin: System, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("credentials.engines.postgres_objects.MAX_AT_ONCE", 5)
    account, password = lease_admin.issue_lease(**WRITER)
    make_many(postgres_server, account.name, password, 50)
    with postgres_server.superuser("orders") as connection:
        connection.execute('CREATE VIEW theirs AS SELECT id FROM public."Many ""7"')
        with pytest.raises(EngineError, match="other objects depend on them"):
            lease_admin.take_back(account)
        assert connection.execute("SELECT * FROM theirs").fetchall() == [], "what is others' is never dropped"
        left = postgres_server.one(HOW_MANY, database="orders")
        assert left == 6, "its table, and two that need each other, each with a sequence"
        connection.execute("DROP VIEW theirs")
    lease_admin.take_back(account)
    assert postgres_server.one(HOW_MANY, database="orders") == 0


def test_one_table_with_more_indexes_than_the_server_has_locks_for(
    lease_admin: System, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside a view that another of the account's objects depends on, so that they are dropped one by one."""
    monkeypatch.setattr("credentials.engines.postgres_objects.MAX_AT_ONCE", 2)
    account, password = lease_admin.issue_lease(**WRITER)
    with postgres_server.connect(account.name, password) as session:
        session.execute("CREATE TABLE public.wide (a int)")
        for first in range(0, 6000, 100):
            session.execute(
                f"DO $$ BEGIN FOR i IN {first}..{first + 99} LOOP"
                " EXECUTE format('CREATE INDEX wide_%s ON public.wide (a)', i); END LOOP; END $$"
            )
        session.execute("CREATE VIEW public.v AS SELECT 1 AS a; CREATE TABLE public.of_v (v public.v)")
    with lease_admin.link() as link:
        with pytest.raises(EngineError, match="more locks than the server has") as problem:
            link.revoke(account)
        assert not isinstance(problem.value, BackendUnreachable), "or one account would stop the whole backend"
        assert link.verify(account.name).can_log_in is False, "the link is good, and the account is disabled"
    with postgres_server.superuser("orders") as connection:
        for first in range(0, 6000, 100):
            names = ", ".join(f"public.wide_{number}" for number in range(first, first + 100))
            connection.execute(f"DROP INDEX {names}")
    lease_admin.take_back(account)
    assert postgres_server.one("SELECT count(*) FROM pg_class WHERE relname = 'wide'", database="orders") == 0


def test_too_many_to_reassign_is_said_of_the_account_and_not_of_the_server(
    lease_admin: System, postgres_server: PostgresServer
) -> None:
    account, password = lease_admin.issue_lease(**WRITER, objects="reassign", reassign_to="orders_owner")
    make_many(postgres_server, account.name, password)
    with lease_admin.link() as link:
        with pytest.raises(EngineError, match="more locks than the server has") as problem:
            link.revoke(account)
        assert not isinstance(problem.value, BackendUnreachable)
        assert link.verify(account.name).can_log_in is False, "the link is good, and the account is disabled"
    until_done(lease_admin, replace(account, settings=account.settings | {"objects": "drop"}))


def test_a_large_object_of_somebody_else_stays(lease_admin: System, postgres_server: PostgresServer) -> None:
    with postgres_server.superuser("orders") as connection:
        (theirs,) = connection.execute("SELECT lo_create(0)").fetchone()  # type: ignore[misc]
        connection.execute(f"GRANT ALL ON LARGE OBJECT {theirs} TO PUBLIC")
        account, password = lease_admin.issue_lease(**WRITER)
        with postgres_server.connect(account.name, password) as session:
            session.execute("SELECT lo_create(0), lo_put(%s, 0, 'x')", [theirs])
        lease_admin.take_back(account)
        assert connection.execute("SELECT oid FROM pg_largeobject_metadata").fetchall() == [(theirs,)]
        connection.execute("SELECT lo_unlink(%s)", [theirs])


def test_large_objects_go_where_nobody_may_unlink_any(lease_admin: System, postgres_server: PostgresServer) -> None:
    with postgres_server.superuser("orders") as connection:
        connection.execute("REVOKE EXECUTE ON FUNCTION lo_unlink(oid) FROM PUBLIC")
        try:
            account, password = lease_admin.issue_lease(**WRITER)
            with postgres_server.connect(account.name, password) as session:
                session.execute("SELECT lo_create(0)")
            lease_admin.take_back(account)
        finally:
            connection.execute("GRANT EXECUTE ON FUNCTION lo_unlink(oid) TO PUBLIC")
    assert postgres_server.one("SELECT count(*) FROM pg_largeobject_metadata", database="orders") == 0


def test_what_accounts_could_leave_is_said_with_what_to_revoke(
    lease_admin: System, postgres_server: PostgresServer
) -> None:
    account = lease_admin.account(**WRITER)
    with lease_admin.link() as link:
        (large,) = find_can_leave_behind(link, account)
    assert "large objects in the database orders" in large
    what = large.partition("REVOKE ")[2].rstrip(".")
    with postgres_server.superuser("orders") as connection:
        connection.execute(f"REVOKE {what}")
        connection.execute("CREATE TABLE of_group (id int); ALTER TABLE of_group OWNER TO orders_writer")
        try:
            with lease_admin.link() as link:
                (owns,) = find_can_leave_behind(link, account)
            assert "The group orders_writer owns objects in the database orders" in owns
        finally:
            connection.execute(f"GRANT {what.replace('FROM PUBLIC', 'TO PUBLIC')}")
            connection.execute("DROP TABLE of_group")
