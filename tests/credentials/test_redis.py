"""Redis as a connected system: what the engine promises, on two real nodes, one of which keeps an ACL file."""

import secrets
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import redis
from jsonschema import Draft202012Validator

from credentials.engines import BackendAddress, BackendUnreachable, DatabaseAccount, EngineError, SessionTrace
from credentials.engines.redis import ENGINE, RedisLink
from tests.support.redis_nodes import ADMIN, Node, started, target_of

TRACE = SessionTrace("3f0c", "agent-1", "person-1", "grant-1")
PASSWORD = "Ab3-dE5_gH7iJ9kL1mN3oP5qR7sT9u"
RULES = {"rules": ["~orders:*", "+@read", "+set"]}


@pytest.fixture
def nodes() -> Iterator[list[Node]]:
    """Of this test alone: it may kill them."""
    with started() as nodes:
        yield nodes


@pytest.fixture
def target(nodes: list[Node]) -> BackendAddress:
    return target_of(nodes)


@pytest.fixture
def link(target: BackendAddress) -> Iterator[RedisLink]:
    link = ENGINE.connect(target)
    yield link
    link.close()


@pytest.fixture
def account() -> DatabaseAccount:
    return DatabaseAccount(f"cs_{secrets.token_hex(6)}", RULES, datetime.now(UTC) + timedelta(minutes=5), TRACE)


def test_an_account_does_what_its_role_gives_on_every_node(
    nodes: list[Node], link: RedisLink, account: DatabaseAccount
) -> None:
    link.create(account, PASSWORD)
    for node in nodes:
        holder = node.client(account.name, PASSWORD)
        holder.set("orders:1", "x")
        assert holder.get("orders:1") == "x"
        for beyond in (("GET", "people:1"), ("ACL", "LIST"), ("CONFIG", "GET", "*"), ("FLUSHALL",), ("SHUTDOWN",),
                       ("ACL", "SETUSER", account.name, "+@all")):  # fmt: skip
            with pytest.raises(redis.exceptions.NoPermissionError):
                holder.execute_command(*beyond)
        holder.close()
    presence = link.verify(account.name)
    assert (presence.exists, presence.can_log_in) == (True, True)


def test_no_role_administers(nodes: list[Node], link: RedisLink, account: DatabaseAccount) -> None:
    """Whatever a role adds, the last word is ours: an account could make another that outlives it."""
    link.create(replace(account, settings={"rules": ["~*", "+@all", "+acl", "+config"]}), PASSWORD)
    holder = nodes[0].client(account.name, PASSWORD)
    for command in (("ACL", "LIST"), ("CONFIG", "GET", "*"), ("SHUTDOWN",), ("REPLICAOF", "NO", "ONE")):
        with pytest.raises(redis.exceptions.NoPermissionError):
            holder.execute_command(*command)
    holder.close()


def test_revocation_ends_open_sessions_on_every_node(
    nodes: list[Node], link: RedisLink, account: DatabaseAccount
) -> None:
    link.create(account, PASSWORD)
    holders = [node.client(account.name, PASSWORD) for node in nodes]
    for holder in holders:
        holder.get("orders:1")
    assert link.verify(account.name).sessions == 1  # on each node
    link.revoke(account)
    for holder in holders:
        with pytest.raises(redis.RedisError):
            holder.get("orders:1")
        holder.close()
    assert link.verify(account.name).is_gone


def test_a_restart_keeps_an_account_only_where_there_is_an_acl_file(
    nodes: list[Node], target: BackendAddress, link: RedisLink, account: DatabaseAccount
) -> None:
    """Vault's plugin forgets to save (redis#7988): there a restart takes accounts away, or brings them back."""
    link.create(account, PASSWORD)
    nodes[0].restart()
    assert nodes[0].client(account.name, PASSWORD).get("orders:1") is None
    again = ENGINE.connect(target)
    again.revoke(account)
    again.close()
    nodes[0].restart()
    with pytest.raises(redis.AuthenticationError):
        nodes[0].client(account.name, PASSWORD).get("orders:1")


def test_deleted_and_not_saved_is_saved_by_the_next_revocation(
    nodes: list[Node], target: BackendAddress, link: RedisLink, account: DatabaseAccount
) -> None:
    """A crash between DELUSER and SAVE: the user is gone from memory and would come back with a restart."""
    link.create(account, PASSWORD)
    nodes[0].client(password=ADMIN).execute_command("ACL DELUSER", account.name)
    link.revoke(account)
    assert nodes[0].acl_file is not None
    assert account.name not in nodes[0].acl_file.read_text()


def test_one_dead_node_keeps_the_others_from_nothing(
    nodes: list[Node], link: RedisLink, account: DatabaseAccount
) -> None:
    link.create(account, PASSWORD)
    nodes[0].process.stop()
    with pytest.raises(BackendUnreachable):
        link.revoke(account)
    with pytest.raises(redis.AuthenticationError):
        nodes[1].client(account.name, PASSWORD).get("orders:1")
    with pytest.raises(BackendUnreachable):  # not "gone": one node did not say so
        link.verify(account.name)


def test_only_our_prefix_is_listed(link: RedisLink, account: DatabaseAccount) -> None:
    link.create(account, PASSWORD)
    assert link.list_owned("cs_") == [account.name]
    assert "lease_admin" not in link.list_owned("cs_")


def test_the_password_is_in_no_log_of_the_server(nodes: list[Node], link: RedisLink, account: DatabaseAccount) -> None:
    admin = nodes[0].client(password=ADMIN)
    admin.config_set("slowlog-log-slower-than", 0)
    link.create(account, PASSWORD)
    logged = str(admin.slowlog_get(100))
    assert account.name in logged
    assert PASSWORD not in logged
    admin.close()


def test_a_secret_that_not_every_node_took_is_revoked_everywhere(
    nodes: list[Node], target: BackendAddress, link: RedisLink
) -> None:
    nodes[1].process.stop()
    with pytest.raises(BackendUnreachable):
        link.set_own_secret("a new secret of ours")
    one = replace(target, settings={**target.settings, "nodes": [nodes[0].address]})
    ENGINE.connect(one).close()
    with pytest.raises(EngineError, match="refused"):
        ENGINE.connect(replace(one, secret="a new secret of ours"))


def test_what_our_administrator_need_not_have_is_said(
    target: BackendAddress, link: RedisLink, nodes: list[Node]
) -> None:
    assert link.excess_rights() == []
    generous = ENGINE.connect(replace(target, settings={**target.settings, "user": "default"}))
    found = generous.excess_rights()
    assert len(found) == 4
    assert any("every command" in sentence for sentence in found)
    generous.close()


@pytest.mark.parametrize(
    "rule",
    [">mine", "#" + 64 * "0", "nopass", "on", "off", "reset", "resetpass", "allcommands", "allkeys", "(+get ~*)",
     "~a b", "+get\n", "", "-@all >x", "<x", "!x"],
)  # fmt: skip
def test_a_rule_that_is_not_the_roles_to_give_is_refused(rule: str) -> None:
    assert list(Draft202012Validator(ENGINE.role_schema).iter_errors({"rules": ["+get", rule]}))


def test_a_role_that_administers_or_does_nothing_is_refused() -> None:
    assert ENGINE.problems_with_role({"rules": ["~*", "+@all"]})
    assert ENGINE.problems_with_role({"rules": ["~*"]})
    assert not ENGINE.problems_with_role(RULES)


def test_the_account_itself_logs_in_for_the_preflight(
    target: BackendAddress, link: RedisLink, account: DatabaseAccount
) -> None:
    """Its role does not allow PING, and its answer counts all the same."""
    link.create(account, PASSWORD)
    with ENGINE.log_in(target, account.name, PASSWORD) as session:
        assert session.is_alive()
        link.revoke(account)
        assert not session.is_alive()
    with pytest.raises(EngineError), ENGINE.log_in(target, account.name, PASSWORD):
        pytest.fail("it is gone")


def test_connection_facts_hold_no_secret(target: BackendAddress, account: DatabaseAccount) -> None:
    facts = ENGINE.connection_facts(target, account)
    assert facts == {"nodes": target.settings["nodes"], "tls": False}


@pytest.mark.parametrize("rights", [("+ping", "+acl"), ("+ping", "+acl", "+client|kill")], ids=["neither", "ends them"])
def test_an_administrator_who_sees_no_sessions_confirms_nothing(
    nodes: list[Node], link: RedisLink, account: DatabaseAccount, rights: tuple[str, ...]
) -> None:
    """An administrator that may not list sessions gets an error: no session is believed to be gone."""
    link.create(account, PASSWORD)
    for node in nodes:
        node.client().execute_command("ACL SETUSER", "blind", "reset", f">{ADMIN}", *rights, "on")
    blind = ENGINE.connect(BackendAddress({"nodes": [node.address for node in nodes], "user": "blind"}, ADMIN))
    with pytest.raises(EngineError, match="has no permissions"):
        blind.verify(account.name)
    if "+client|kill" not in rights:
        with pytest.raises(EngineError, match="has no permissions"):
            blind.revoke(account)
        assert not link.verify(account.name).can_log_in, "and nobody else comes in meanwhile"
    blind.close()


@pytest.mark.parametrize("rules", [["+@write"], ["+@scripting"], ["+@all"], ["+function"], ["+function|load"]])
def test_an_account_leaves_no_code(
    nodes: list[Node], link: RedisLink, account: DatabaseAccount, rules: list[str]
) -> None:
    """A function outlives the account, and runs with the rights of whoever calls it."""
    link.create(replace(account, settings={"rules": ["~*", "+ping", *rules]}), PASSWORD)
    holder = nodes[0].client(account.name, PASSWORD)
    assert holder.ping()
    code = "#!lua name=mine\nredis.register_function('f', function() return 1 end)"
    for command in (("FUNCTION", "LOAD", code), ("FUNCTION", "FLUSH"), ("FUNCTION", "DELETE", "x")):
        with pytest.raises(redis.exceptions.NoPermissionError):
            holder.execute_command(*command)
    holder.close()
