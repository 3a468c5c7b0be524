"""A file is applied whole or not at all: after a failure at each write, a kill, or a change by an administrator."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import OperationalError, connection
from django.test import Client
from django.utils import timezone

from accounts.models import User
from accounts.staff_roles import GROUP_NAMES
from audit.models import Event
from authserver.configuration import lifecycle
from authserver.management.commands import apply_config
from clients import lifecycle as agents
from clients.models import Agent
from credentials.backends.secrets import sealed, target_of
from credentials.models import Backend, Role
from operations.models import OperationType, Resource, Scope
from tests.credentials.test_kills import Crash, crash
from tests.patience import PATIENCE
from tests.support.budget import rounds
from tests.support.configuration import apply, example, export, parsed_example
from tests.support.duel import at_once
from tests.support.leases import audit_closed
from tests.support.sweeper import ROOT
from tests.support.world import sign_in

__all__ = ["crash"]
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONFIG_SECRET_ORDERS", "the first secret")


class Failed(Exception):
    pass


def ordinary_groups() -> list[str]:
    return list(Group.objects.exclude(name__in=GROUP_NAMES).order_by("name").values_list("name", flat=True))


@contextmanager
def failing_write(number: int) -> Iterator[list[str]]:
    """The write with this number fails, counted from 0; which writes there were."""
    writes: list[str] = []

    def count(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith(("INSERT", "UPDATE", "DELETE")):
            writes.append(sql)
            if len(writes) > number:
                raise Failed(sql)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(count):
        yield writes


def changed_example() -> dict[str, Any]:
    """Changes something in each section, adds an object and leaves one out."""
    content = parsed_example()
    for section, values in {
        "resources": {"name": "A"}, "scopes": {"risk": "critical"}, "operation_types": {"uses": 2},
        "backends": {"max_leases": 5}, "credential_roles": {"max_leases": 5, "title": "Read"},
        "agents": {"name": "Payer", "scopes": [], "groups": ["Agent managers"], "status": "suspended"},
        "hint_issuers": {"is_active": False},
    }.items():  # fmt: skip
        content[section][0] |= values
    content["groups"][0]["permissions"] = ["clients.view_agent"]
    content["scopes"].append(content["scopes"][0] | {"name": "payments.write"})
    del content["groups"][1]["permissions"]
    return content


def test_a_failure_at_any_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The preflights come after the commit.
    monkeypatch.setattr(apply_config, "run_preflights", lambda *_: iter(()))
    stages: list[str | dict[str, Any]] = [example(), changed_example(), {"version": 1, "agents": [], "scopes": []}]
    for content in stages:
        before = export(), Event.objects.count()
        number = 0
        while True:
            with failing_write(number) as writes:
                try:
                    outcome = apply(tmp_path, content, "--yes", "--prune")
                except Failed:
                    pass
                else:
                    assert outcome.code == 0 and len(writes) == number
                    break
            assert (export(), Event.objects.count()) == before, writes[-1]
            number += 1
        assert number > 3 and export() != before[0] and Event.objects.count() > before[1]


def test_a_check_sends_no_statement_that_writes_or_locks(tmp_path: Path) -> None:
    assert apply(tmp_path, example(), "--yes").code == 4
    Backend.objects.update(preflight_at=None)  # not even its preflight
    statements: list[str] = []

    def note(execute: Callable[..., Any], sql: str, *arguments: Any) -> Any:
        statements.append(sql)
        return execute(sql, *arguments)

    with connection.execute_wrapper(note):
        assert apply(tmp_path, changed_example(), "--check", "--prune").code == 1
        assert apply(tmp_path, example(), "--check", "--prune").code == 0
    assert len(statements) > 20
    assert all(one.startswith("SELECT") and "FOR UPDATE" not in one and "FOR NO KEY" not in one for one in statements)


def test_without_its_event_nothing_is_written(tmp_path: Path) -> None:
    with audit_closed(), pytest.raises(Exception, match="permission denied"):
        apply(tmp_path, example(), "--yes")
    assert not Resource.objects.exists() and not ordinary_groups()


@pytest.mark.soak
def test_a_kill_before_any_statement_leaves_all_or_nothing(tmp_path: Path, crash: Crash) -> None:
    path = tmp_path / "countersign.yaml"
    content = parsed_example()
    for section in ("backends", "credential_roles"):  # their preflights call a backend after the commit
        del content[section]
    content["agents"][0] |= {"operation_types": ["payment"], "scopes": ["payments.read"]}
    path.write_text(json.dumps(content))
    nothing, call, ends = export(), 0, []
    while True:
        code = crash(act="apply_config", what=str(path), call=call)
        exported = export()
        ends.append(exported != nothing)
        if code == 0:
            break
        if exported == nothing:
            assert not Event.objects.exists(), call
        else:
            assert apply(tmp_path, content, "--check").code == 0, call
            break
        call += rounds(9, 1)
    assert call > 50 and ends[-1], "and at last it was applied"
    assert apply(tmp_path, content, "--check").code == 0


# What an administrator changes between the difference that was shown and the transaction.
RACES: dict[str, Callable[[User], object]] = {
    "an object that changes": lambda by: Scope.objects.update(description="Other words"),
    "an object that was unchanged": lambda by: Resource.objects.filter(name="Payments").update(name="Other"),
    "the same change": lambda by: Scope.objects.update(risk="critical"),
    "an agent's status": lambda by: agents.suspend(Agent.objects.get(), by, timezone.now()),
    "an agent's scopes": lambda by: Agent.objects.get().scopes.clear(),
    "the object that is added": lambda by: Group.objects.create(name="New"),
    "an object to prune": lambda by: OperationType.objects.update(is_active=False),
    "a role's text": lambda by: Role.objects.update(max_leases=1),
}


@pytest.mark.parametrize("what", RACES)
def test_a_change_after_the_difference_was_shown_is_refused(
    tmp_path: Path, administrator: User, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    assert apply(tmp_path, example(), "--yes").code == 4
    content = parsed_example()
    content["scopes"][0]["risk"] = "critical"
    content["groups"].append({"name": "New"})
    content["operation_types"] = []
    content["agents"][0]["operation_types"] = []
    find_plan = lifecycle.find_plan

    def race(*arguments: Any, **more: Any) -> Any:
        plan = find_plan(*arguments, **more)
        at_once(lambda: RACES[what](administrator))
        return plan

    monkeypatch.setattr(lifecycle, "find_plan", race)
    events = Event.objects.filter(actor__startswith="config:").count()
    outcome = apply(tmp_path, content, "--yes", "--prune")
    assert outcome.code == 1 and outcome.error.startswith("Somebody changed the configuration meanwhile."), outcome
    assert Event.objects.filter(actor__startswith="config:").count() == events
    monkeypatch.undo()
    assert apply(tmp_path, content, "--yes", "--prune").code == 0, "the next run shows the new difference"


def test_an_unrelated_change_refuses_nothing(
    tmp_path: Path, administrator: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_plan = lifecycle.find_plan

    def race(*arguments: Any, **more: Any) -> Any:
        plan = find_plan(*arguments, **more)
        at_once(lambda: Group.objects.create(name="Other"))
        return plan

    monkeypatch.setattr(lifecycle, "find_plan", race)
    assert apply(tmp_path, {"version": 1, "groups": [{"name": "New"}]}, "--yes").code == 0
    assert ordinary_groups() == ["New", "Other"]


def test_a_rotation_meanwhile_is_not_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert apply(tmp_path, example(), "--yes").code == 4
    monkeypatch.setenv("CONFIG_SECRET_ORDERS", "the second secret")
    find_plan = lifecycle.find_plan

    def rotate() -> None:
        rotated = sealed(Backend.objects.get(), "a rotated secret")
        Backend.objects.update(sealed_secret=rotated, secret_changed_at=timezone.now())

    def race(*arguments: Any, **more: Any) -> Any:
        plan = find_plan(*arguments, **more)
        at_once(rotate)
        return plan

    monkeypatch.setattr(lifecycle, "find_plan", race)
    assert apply(tmp_path, example(), "--yes", "--replace-secret", "orders").code == 1
    assert target_of(Backend.objects.get()).secret == "a rotated secret"


def test_an_administrator_waits_for_the_transaction(
    tmp_path: Path, administrator: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who saves the same row meanwhile comes after it, and undoes nothing of the file."""
    assert apply(tmp_path, example(), "--yes").code == 4
    scope = Scope.objects.get(name="payments.read")
    browser, answers = sign_in(administrator), []

    def edit() -> None:
        form = {"description": "Other words", "risk": "sensitive", "is_active": "on"}
        answers.append(browser.post(f"/admin/operations/scope/{scope.pk}/change/", form).status_code)
        connection.close()

    editor = threading.Thread(target=edit)
    save = lifecycle._save

    def save_slowly(*arguments: Any) -> None:
        editor.start()
        editor.join(1)
        assert editor.is_alive(), "the row is locked"
        save(*arguments)

    monkeypatch.setattr(lifecycle, "_save", save_slowly)
    content = parsed_example()
    content["scopes"][0]["risk"] = "critical"
    assert apply(tmp_path, content, "--yes").code == 0
    editor.join(PATIENCE)
    scope.refresh_from_db()
    assert answers == [302] and (scope.description, scope.risk) == ("Other words", "critical")


class TestTheQuestion:
    @pytest.mark.parametrize(("answer", "is_applied"), [("y", True), ("YES", True), ("", False), ("no", False)])
    def test_is_asked_on_a_terminal(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, is_applied: bool
    ) -> None:
        class Terminal(StringIO):
            def isatty(self) -> bool:
                return True

        monkeypatch.setattr(sys, "stdin", Terminal(f"{answer}\n"))
        path, out = tmp_path / "a.yaml", StringIO()
        path.write_text("version: 1\ngroups: [{name: New}]")
        if is_applied:
            call_command("apply_config", str(path), stdout=out)
        else:
            with pytest.raises(CommandError, match="Nothing was changed") as refused:
                call_command("apply_config", str(path), stdout=out)
            assert refused.value.returncode == 1
        assert '+ group New: added\n    name: "New"\nApply? [y/N] ' in out.getvalue()
        assert ordinary_groups() == (["New"] if is_applied else [])


def test_a_database_that_fails_after_the_commit_is_not_called_unchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise OperationalError("the connection is lost")

    monkeypatch.setattr(apply_config, "run_preflights", fail)
    path = tmp_path / "a.yaml"
    path.write_text("version: 1\ngroups: [{name: New}]")
    with pytest.raises(CommandError, match="The file was applied, but the preflights did not finish") as failed:
        call_command("apply_config", str(path), "--yes", stdout=StringIO())
    assert failed.value.returncode == 4
    assert ordinary_groups() == ["New"]


def test_a_process_ends_with_the_code_and_prints_no_traceback(tmp_path: Path) -> None:
    def run(content: str, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
        path = tmp_path / "countersign.yaml"
        path.write_text(content)
        command = [sys.executable, "manage.py", "apply_config", str(path), *options]
        more = {"cwd": ROOT, "env": os.environ | environment, "stdin": subprocess.DEVNULL}
        return subprocess.run(command, capture_output=True, text=True, check=False, **more)

    group = "version: 1\ngroups: [{name: New}]"
    nowhere = "postgres://a:b@127.0.0.1:1/c"
    for ended, code, text in [
        (run(group), 1, "pass --yes"), (run(group, "--check"), 1, "differs"), (run(group, "--yes"), 0, ""),
        (run(group, "--check"), 0, ""), (run("version: 2"), 2, "line 1, version: must be 1"),
        (run(group, "--unknown"), 2, "usage: "), (run(group, DATABASE_URL=nowhere), 3, "The database failed."),
    ]:  # fmt: skip
        assert (ended.returncode, text in ended.stderr) == (code, True), ended
        assert "Traceback" not in ended.stderr
    assert ordinary_groups() == ["New"]


def test_the_actor_is_a_plain_name(tmp_path: Path, administrator: User) -> None:
    name = "a\n<b>\u202e" + "x" * 200 + ".yaml"
    assert apply(tmp_path, {"version": 1, "groups": [{"name": "New"}]}, "--yes", name=name).code == 0
    actor = Event.objects.get().actor
    assert actor.startswith("config:a__b__xx") and len(actor) == 207
    page = sign_in(administrator, browser=Client()).get("/admin/audit/event/")
    assert page.status_code == 200 and actor in page.content.decode()
