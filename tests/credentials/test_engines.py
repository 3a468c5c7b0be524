"""What every engine promises, on real systems. An engine joins by a line in SYSTEMS."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from credentials.engines import AccountMissing, BackendUnreachable, EngineError, LoginRefused, Presence, engine_names
from credentials.models import mismatches
from foundation.handles import new_handle, new_id
from tests.support.systems import PREFIX, System

# Name → how the system is come by.
SYSTEMS: dict[str, Any] = {
    "postgres, as a superuser": lambda request: request.getfixturevalue("postgres_server").system("postgres"),
    "postgres, as a role with CREATEROLE": lambda request: request.getfixturevalue("postgres_server").system(
        "lease_admin"
    ),
    "mysql, MariaDB": lambda request: request.getfixturevalue("mysql_system"),
    "redis, two nodes": lambda request: request.getfixturevalue("redis_system"),
}


@pytest.fixture(params=list(SYSTEMS))
def system(request: pytest.FixtureRequest) -> System:
    made: System = SYSTEMS[request.param](request)
    return made


def test_every_engine_is_held_to_this() -> None:
    assert {name.split(",")[0] for name in SYSTEMS} == set(engine_names())


def test_an_open_session_ends_before_revoke_returns_and_the_account_is_gone(system: System) -> None:
    account, password = system.issue_lease()
    with system.engine.log_in(system.target, account.name, password) as session, system.link() as link:
        assert session.is_alive()
        assert link.verify(account.name) == Presence(exists=True, can_log_in=True, sessions=1)
        link.revoke(account)
        assert not session.is_alive()
        assert link.verify(account.name) == Presence(exists=False)
        with pytest.raises(EngineError), system.engine.log_in(system.target, account.name, password):
            pass


def test_a_second_revoke_does_nothing(system: System) -> None:
    account, _ = system.issue_lease()
    bystander, password = system.issue_lease()
    system.take_back(account)
    with system.engine.log_in(system.target, bystander.name, password) as session:
        system.take_back(account)
        assert session.is_alive()
    system.take_back(bystander)


def test_the_name_is_made_once(system: System) -> None:
    account, password = system.issue_lease()
    with system.link() as link:
        with pytest.raises(EngineError):
            link.create(account, new_handle())
        with system.engine.log_in(system.target, account.name, password) as session:
            assert session.is_alive()
        link.revoke(account)


def test_a_new_password_replaces_the_old_one(system: System) -> None:
    account, old = system.issue_lease()
    new = new_handle()
    with system.link() as link:
        link.set_password(account, new)
        with system.engine.log_in(system.target, account.name, new) as session:
            assert session.is_alive()
        with pytest.raises(EngineError), system.engine.log_in(system.target, account.name, old):
            pass
        link.revoke(account)


def test_nothing_makes_an_account_but_create(system: System) -> None:
    """A renewal that comes after the revoke revives nothing."""
    account, _ = system.issue_lease()
    system.take_back(account)
    with system.link() as link:
        with pytest.raises(AccountMissing):
            link.set_password(account, new_handle())
        with pytest.raises(AccountMissing):
            link.renew(account)
        assert link.verify(account.name).is_gone


def test_a_probe_gets_an_account_and_nothing_else(system: System) -> None:
    """Without any settings of a role: the backend's preflight, and an orphan of which the name alone is known."""
    account = replace(system.account(), settings={})
    with system.link() as link:
        link.create(account, new_handle())
        assert link.verify(account.name).exists
        link.revoke(account)
        assert link.verify(account.name).is_gone


def test_whatever_the_agent_is_called_is_only_text(system: System) -> None:
    """A client_id may be a URL, and is not ours to choose."""
    account = system.account()
    sly = """'"; DROP TABLE orders; DROP ROLE lease_admin; -- {} %s \\ $$"""
    account = replace(account, trace=replace(account.trace, client_id=sly, sub=sly, purpose=sly))
    password = new_handle()
    with system.link() as link:
        link.create(account, password)
        with system.engine.log_in(system.target, account.name, password) as session:
            assert session.is_alive()
        link.revoke(account)
        assert link.verify(account.name).is_gone


def test_renewing_keeps_the_account_going(system: System) -> None:
    account, password = system.issue_lease()
    with system.link() as link:
        link.renew(replace(account, valid_until=datetime.now(UTC) + timedelta(hours=1)))
        with system.engine.log_in(system.target, account.name, password) as session:
            assert session.is_alive()
        link.revoke(account)


def test_what_is_owned_is_found_by_its_prefix(system: System) -> None:
    prefix = f"cs_{new_id().hex[:6]}_"
    account, password = system.account(), new_handle()
    account = replace(account, name=f"{prefix}{new_id().hex[:20]}")
    other, _ = system.issue_lease()
    with system.link() as link:
        link.create(account, password)
        assert link.list_owned(prefix) == [account.name]
        assert other.name in link.list_owned(PREFIX)
        link.revoke(account)
        link.revoke(other)
        assert link.list_owned(prefix) == []


def test_a_wrong_secret_is_refused(system: System) -> None:
    with pytest.raises(LoginRefused):
        system.engine.connect(replace(system.target, secret="wrong"))


def test_a_system_that_does_not_answer_is_unreachable(system: System, free_address: dict[str, Any]) -> None:
    settings = {**system.target.settings, **free_address}
    if "nodes" in settings:
        settings["nodes"] = [free_address]
        settings = {name: value for name, value in settings.items() if name not in free_address}
    with pytest.raises(BackendUnreachable) as raised:
        system.engine.connect(replace(system.target, settings=settings))
    assert not isinstance(raised.value, LoginRefused)
    assert system.target.secret not in str(raised.value)


def test_the_administrators_own_secret_can_be_changed(system: System) -> None:
    new = new_handle()
    with system.link() as link:
        link.set_own_secret(new)
    try:
        with pytest.raises(LoginRefused):
            system.engine.connect(system.target)
        system.engine.connect(replace(system.target, secret=new)).close()
    finally:
        link = system.engine.connect(replace(system.target, secret=new))
        link.set_own_secret(system.target.secret)
        link.close()


def test_the_settings_of_these_systems_fit_their_schemas(system: System) -> None:
    assert mismatches(system.engine.backend_schema, dict(system.target.settings)) == []
    assert mismatches(system.engine.role_schema, system.role) == []
    assert mismatches(system.engine.backend_schema, {"host": "x; DROP TABLE"})
    assert mismatches(system.engine.role_schema, {"nothing": "known"})


def test_a_secret_is_never_shown(system: System) -> None:
    assert system.target.secret not in repr(system.target)


@pytest.fixture
def free_address() -> dict[str, Any]:
    from runtime.processes import free_port

    return {"host": "127.0.0.1", "port": free_port()}
