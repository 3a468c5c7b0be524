"""Engines of others: one that was built and installed apart works as ours do; one that is broken fails closed."""

import json
import logging
import os
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from accounts.models import User
from audit.models import Event
from audit.record import SYSTEM, About
from credentials import metrics
from credentials.backends import links, preflight
from credentials.backends.secrets import sealed
from credentials.engines import UnknownEngine, engine_names, find_engine, third_party
from credentials.leases import lifecycle, revocation
from credentials.models import Backend, Lease, Role
from oauth.models import Use
from tests.patience import PATIENCE
from tests.support.leases import Holder, figures_of, sweep_until_quiet
from tests.support.world import Caller, sign_in

pytestmark = pytest.mark.django_db(transaction=True)
ROOT = Path(__file__).resolve().parent.parent.parent
EXAMPLE = ROOT / "examples" / "htpasswd-engine"


def install(folder: Path, name: str, engines: dict[str, str], modules: dict[str, str]) -> None:
    """Builds a wheel and has pip install it into a folder, as a package of somebody else would be; no network."""
    folder.mkdir(exist_ok=True)
    wheel = folder / f"{name.replace('-', '_')}-1.0-py3-none-any.whl"
    info = f"{name.replace('-', '_')}-1.0.dist-info"
    points = "".join(f"{engine} = {value}\n" for engine, value in engines.items())
    files = {f"{module}.py": text for module, text in modules.items()} | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: a test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[countersign.engines]\n{points}",
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
        archive.writestr(f"{info}/RECORD", "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"]))
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-compile"]
    subprocess.run([*command, "--target", folder, wheel], check=True, timeout=PATIENCE)


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """The example of the guide, installed."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    module = "countersign_htpasswd"
    install(
        tmp_path / "installed", project["name"], project["entry-points"]["countersign.engines"],
        {module: (EXAMPLE / f"{module}.py").read_text()},
    )  # fmt: skip
    return tmp_path / "installed"


def run(path: Path | None, job: dict[str, Any]) -> Any:
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "authserver.settings"}
    if path:
        environment["PYTHONPATH"] = str(path)
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.third_party"], input=json.dumps(job), text=True,
        capture_output=True, cwd=ROOT, env=environment, timeout=PATIENCE,
    )  # fmt: skip
    return json.loads(done.stdout) if done.returncode == 0 else done.stderr


def test_it_is_checked_issues_leases_and_revokes_them(example: Path, agent: Caller, user: User, tmp_path: Path) -> None:
    (sites := tmp_path / "sites").mkdir()
    (sites / "reports").write_text("alice:{SHA}not-ours\n")
    job = {
        "engine": "htpasswd", "settings": {"folder": str(sites), "url": "https://www.example.com"},
        "role": {"site": "reports"}, "agent": agent.agent.pk, "user": str(user.pk),
        # A prompt may show several lines. In an htpasswd file, the second would be an account of its own.
        "purpose": "to try it\nmallory:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=",
    }  # fmt: skip
    reply = run(example, job)
    assert isinstance(reply, dict), reply
    assert (reply["preflight"], reply["status"], reply["live"]) == ("", "enabled", 200)
    assert reply["connection"] == {"url": "https://www.example.com/reports/"}
    assert (reply["session"], reply["renewed"], reply["state"]) == ([True, False], True, "revoked")
    assert (sites / "reports").read_text() == "alice:{SHA}not-ours\n", "what is not ours is as it was"
    assert reply["account"] not in "".join(path.read_text() for path in sites.iterdir())


def test_where_it_is_not_installed_nobody_can_choose_it(agent: Caller, user: User, tmp_path: Path) -> None:
    job = {
        "engine": "htpasswd", "settings": {"folder": str(tmp_path), "url": "https://www.example.com"},
        "role": {"site": "reports"}, "agent": agent.agent.pk, "user": str(user.pk), "purpose": "to try it",
    }  # fmt: skip
    assert "no engine named htpasswd is installed" in run(None, job)
    assert not Backend.objects.exists()


# --- broken ones


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Installs for this process, too."""

    def put(text: str, package: str = "their-engine", value: str = "their_engine:ENGINE") -> None:
        module = value.partition(":")[0]
        install(tmp_path / package, package, {"theirs": value}, {module: text})
        monkeypatch.syspath_prepend(str(tmp_path / package))
        monkeypatch.delitem(sys.modules, module, raising=False)

    yield put
    third_party.find.cache_clear()
    links.close_all()
    sys.modules.pop("their_engine", None)


WHOLE = """
class Engine:
    title, backend_schema, role_schema, max_name, is_revocable = "Theirs", {}, {}, 64, True
    problems_with_role = connection_facts = connect = log_in = lambda *anything: []
ENGINE = Engine()
"""
BROKEN = {
    "its module is missing what it needs": (
        "import nothing_of_this_name",
        "the engine theirs of their-engine does not load: ModuleNotFoundError: No module named 'nothing_of_this_name'",
    ),
    "its module fails": (
        "1 / 0",
        "the engine theirs of their-engine does not load: ZeroDivisionError: division by zero",
    ),
    "it is not there": ("", "the engine theirs of their-engine does not load: AttributeError"),
    "it is something else": (
        "ENGINE = 7",
        "their-engine provides theirs, which is not a usable engine: it has no title",
    ),
    "it is a class": (WHOLE.replace("Engine()", "Engine"), "is not a usable engine: it is a class"),
    "a method is missing": (WHOLE.replace("connect = ", ""), "is not a usable engine: it has no connect()"),
    "its names are short": (
        WHOLE.replace("64", "16"),
        "account names have up to 32 characters, but it accepts only 16",
    ),
    "a fact of it fails": (
        WHOLE.replace("title, backend", "is_it, backend") + "Engine.title = property(lambda engine: 1 / 0)",
        "is not a usable engine: reading it fails: ZeroDivisionError",
    ),
    "its schema is none": (WHOLE.replace("{}", "{'type': 'thing'}", 1), "its backend_schema is not a JSON Schema"),
}


@pytest.mark.parametrize(("text", "sentence"), BROKEN.values(), ids=BROKEN)
def test_a_broken_one_fails_closed_and_says_so(
    text: str, sentence: str, installed: Callable[..., None], holder: Holder, role: Role, orders: Backend,
    administrator: User,
) -> None:  # fmt: skip
    holder.issue_lease(role)
    token = holder.approved_token(role)
    installed(text)
    Backend.objects.update(engine="theirs")
    with pytest.raises(UnknownEngine) as raised:
        find_engine("theirs")
    assert sentence in str(raised.value)
    assert holder.request_lease(token).json()["error"] == "not_issuing"
    lease = Lease.objects.get()
    lifecycle.end(lease, lifecycle.EndReason.AGENT, "agent:x", timezone.now())
    revocation.revoke_now(lease.id)
    lease.refresh_from_db()
    assert lease.state == "revoking" and sentence in lease.problem, "its lease waits, and says for what"
    report = preflight.check_backend(Backend.objects.get(), About(SYSTEM), timezone.now())
    assert not report.passed and sentence in report.first_problem
    assert Backend.objects.get().status == "new"
    page = sign_in(administrator).get("/admin/credentials/backend/add/").content.decode()
    assert "theirs, which cannot be used" in page and "PostgreSQL" in page, "the others go on"
    Backend.objects.update(engine="postgres")  # mended
    Lease.objects.update(due_at=timezone.now(), claimed_until=None)
    revocation.revoke_now(lease.id)
    lease.refresh_from_db()
    assert lease.state == "revoked"


def test_two_of_one_name_are_none(installed: Callable[..., None], db: None) -> None:
    installed(WHOLE)
    assert "theirs" in engine_names() and find_engine("theirs").title == "Theirs"
    third_party.find.cache_clear()
    installed(WHOLE, package="another-engine", value="another_engine:ENGINE")
    with pytest.raises(UnknownEngine, match="several packages provide an engine named theirs: "):
        find_engine("theirs")


def test_none_takes_the_place_of_one_of_ours(installed: Callable[..., None], tmp_path: Path) -> None:
    installed(WHOLE)
    points = next((tmp_path / "their-engine").glob("*.dist-info/entry_points.txt"))
    points.write_text(points.read_text().replace("theirs", "postgres"))
    assert find_engine("postgres").title == "PostgreSQL"


FAILING = """
class Link:
    def create(self, account, password):
        raise ValueError(password)
    revoke = lambda self, account: {}["what"]
    verify = lambda self, name: 1 / 0
    close = lambda self: None
class Engine:
    title, backend_schema, role_schema, max_name, is_revocable = "Theirs", {}, {}, 64, True
    problems_with_role = lambda self, settings: []
    connection_facts = lambda self, target, account: {}
    log_in = connect = lambda self, target: Link()
ENGINE = Engine()
"""


def test_one_that_fails_in_its_own_way_is_as_one_that_refused(
    installed: Callable[..., None], holder: Holder, role: Role, caplog: pytest.LogCaptureFixture
) -> None:
    installed(FAILING)
    Backend.objects.update(engine="theirs")
    with caplog.at_level(logging.WARNING):
        answer = holder.request_lease(holder.approved_token(role))
    assert (answer.status_code, answer.json()["error"]) == (502, "backend_unavailable")
    lease = Lease.objects.get()
    assert (lease.state, lease.end_reason) == ("revoking", "not created")
    assert lease.problem == "the engine theirs failed: KeyError"
    assert "ValueError at" in caplog.text and "their_engine.py:4" in caplog.text
    report = preflight.check_backend(Backend.objects.get(), About(SYSTEM), timezone.now())
    assert report.first_problem == "create an account: the engine theirs failed: ValueError"
    assert report.steps[-1]["problem"] == "the engine theirs failed: AttributeError", "a method is missing"


UNTRUE = """
from credentials.engines import Presence
made = []
class Link:
    create = lambda self, account, password: made.append(account.name)
    revoke = lambda self, account: None
    verify = lambda self, name: VERIFIED
    list_owned = lambda self, prefix: None
    close = lambda self: None
class Engine:
    title, backend_schema, role_schema, max_name, is_revocable = "Theirs", {}, {}, 64, True
    problems_with_role = lambda self, settings: 1 / 0
    connection_facts = lambda self, target, account: FACTS
    log_in = connect = lambda self, target: Link()
ENGINE = Engine()
"""


@pytest.mark.parametrize("facts", ["1 / 0", "{1, 2}", "{'port': self}"])
def test_no_account_is_made_that_nobody_can_be_told_how_to_reach(
    facts: str, installed: Callable[..., None], holder: Holder, role: Role
) -> None:
    installed(UNTRUE.replace("FACTS", facts).replace("VERIFIED", "Presence(exists=False)"))
    Backend.objects.update(engine="theirs")
    answer = holder.request_lease(holder.approved_token(role))
    assert (answer.status_code, answer.json()["error"]) == (502, "backend_unavailable")
    assert sys.modules["their_engine"].made == []
    assert Lease.objects.get().state == "revoked"
    assert not Use.objects.exists(), "nothing was spent"


@pytest.mark.parametrize("verified", ["True", "Presence(exists=None)"])
def test_an_answer_that_is_none_does_not_count(
    verified: str, installed: Callable[..., None], holder: Holder, role: Role
) -> None:
    """Its leases say so, and get stuck, as where it says no; nothing is called gone."""
    issued = holder.issue_lease(role)["lease"]["lease_id"]
    installed(UNTRUE.replace("FACTS", "{}").replace("VERIFIED", verified))
    Backend.objects.update(engine="theirs")
    assert holder.revoke(issued).status_code == 200
    lease = Lease.objects.get()
    assert (lease.state, lease.claimed_until) == ("revoking", None)
    assert lease.problem.startswith("the engine theirs failed: verify() returned ")
    sweep_until_quiet()  # looks for accounts without a lease, too
    with pytest.raises(ValidationError, match="the engine theirs failed: ZeroDivisionError"):
        Role.objects.get(pk=role.pk).clean()


def test_a_link_of_theirs_that_does_not_close_is_nobody_elses_trouble(
    installed: Callable[..., None], holder: Holder, role: Role, orders: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    untrue = UNTRUE.replace("FACTS", "{}").replace("VERIFIED", "1")
    installed(untrue.replace("close = lambda self: None", "close = lambda self: 1 / 0"))
    theirs = Backend(name="elsewhere", engine="theirs", settings={})
    theirs.sealed_secret = sealed(theirs, "none")
    with links.link_to(theirs):
        pass  # it is kept for the next call
    monkeypatch.setattr(links, "MAX_IDLE_AGE_S", 0.0)
    assert holder.issue_lease(role)["lease"]["state"] == "active"
    assert not any(key[0] == theirs.pk for key in links._idle)


TICKETS = """
from contextlib import nullcontext
from datetime import UTC, datetime
from credentials.engines import Presence
until = {}
class Link:
    def create(self, account, password):
        until[account.name] = account.valid_until
    def revoke(self, account):
        assert until[account.name] <= datetime.now(UTC), "asked before its time"
    def verify(self, name):
        there = name in until and until[name] > datetime.now(UTC)
        return Presence(exists=there, can_log_in=there)
    list_owned = lambda self, prefix: []
    excess_rights = lambda self: []
    close = lambda self: None
class Engine:
    title, backend_schema, role_schema, max_name, is_revocable = "Tickets", {}, {}, 64, False
    problems_with_role = lambda self, settings: []
    connection_facts = lambda self, target, account: {}
    connect = lambda self, target: Link()
    log_in = lambda self, target, name, password: nullcontext()
ENGINE = Engine()
"""


def test_what_nothing_can_revoke_is_short_and_nobody_is_told_otherwise(
    installed: Callable[..., None], holder: Holder, role: Role, administrator: User, user: User
) -> None:
    """Tickets that work until they expire: the lease does not lie about it."""
    installed(TICKETS)
    Backend.objects.update(engine="theirs")
    report = preflight.check_backend(Backend.objects.get(), About(SYSTEM), timezone.now())
    assert report.passed and "accounts cannot be revoked" in report.steps[-1]["step"]
    issued = holder.issue_lease(role, lifetime=3600)["lease"]
    assert (issued["revocable"], issued["bound_by"]) == (False, "not_revocable")
    lease = Lease.objects.get()
    assert lease.expires_at <= lease.created_at + timedelta(minutes=15)
    assert json.loads(Event.objects.get(kind="lease.issued").body)["facts"]["revocable"] is False
    browser = sign_in(user)
    assert "It cannot be revoked earlier." in browser.get("/activity").content.decode()

    ended = holder.revoke(issued["lease_id"]).json()
    assert (ended["state"], ended["revocable"], ended["revoked_at"]) == ("revoking", False, None)
    assert "it cannot be revoked: it works until" in browser.get("/activity").content.decode()
    lease.refresh_from_db()
    assert "it cannot be revoked: it works until" in lease.problem
    assert lease.due_at == lease.expires_at + timedelta(seconds=5), "and nothing is tried before"
    page = sign_in(administrator).get(f"/admin/credentials/lease/{lease.pk}/change/").content.decode()
    assert "Can be revoked" in page and "icon-no" in page
    figures = figures_of(metrics.read_figures(timezone.now()))
    assert figures["countersign_leases_oldest_overdue_seconds", "orders"] == 0, "no alarm"

    sys.modules["their_engine"].until[lease.account_name] = timezone.now()
    Lease.objects.update(expires_at=timezone.now() - timedelta(seconds=5), due_at=timezone.now())
    sweep_until_quiet()
    lease.refresh_from_db()
    assert (lease.state, lease.problem) == ("revoked", "")
