"""The shipped systemd units and the compose file: valid, and each command really starts what it names."""

import re
import shlex
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from redis import Redis

from authserver import variables
from authserver.environment import Variable
from runtime.processes import Process
from tests.deploy.conftest import ROOT, Production
from tests.patience import PATIENCE, until

DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").iterdir())
SERVICES = [unit for unit in UNITS if unit.suffix == ".service"]


def local_paths(text: str) -> str:
    """With the paths of this checkout in place of the installed ones."""
    text = text.replace("/opt/countersign/.venv/bin", str(Path(sys.executable).parent))
    return text.replace("/opt/countersign", str(ROOT))


def entries(name: str, key: str) -> list[str]:
    text = (DEPLOY / "systemd" / f"countersign-{name}.service").read_text().replace("\\\n", " ")
    return re.findall(rf"^{key}=(.*)$", local_paths(text), re.MULTILINE)


@contextmanager
def started(name: str, production: Production) -> Iterator[Process]:
    """The unit's ExecStart with its Environment and, as EnvironmentFile, the settings of an operator."""
    folder = production.folder / f"metrics-{name}"
    folder.mkdir(exist_ok=True)
    own = dict(one.split("=", 1) for line in entries(name, "Environment") for one in line.split())
    environment = own | production.environment | {"PROMETHEUS_MULTIPROC_DIR": str(folder)}
    (line,) = entries(name, "ExecStart")
    command = [re.sub(r"\$\{(\w+)\}", lambda found: environment[found[1]], part) for part in shlex.split(line)]
    process = Process(name, [*command], environment, log=production.folder / f"{name}.log")
    process.start()
    try:
        yield process
    finally:
        process.stop()


def runs(process: Process) -> bool:
    assert process.is_running and process.log, process.log and process.log.read_text()
    return True


@pytest.fixture(autouse=True)
def in_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """WorkingDirectory."""
    monkeypatch.chdir(ROOT)


class TestUnits:
    def test_systemd_accepts_them(self, tmp_path: Path) -> None:
        program = shutil.which("systemd-analyze")
        if program is None:
            pytest.skip("There is no systemd-analyze here: apt-get install systemd.")
        for unit in UNITS:
            (tmp_path / unit.name).write_text(local_paths(unit.read_text()))
        files = [str(tmp_path / unit.name) for unit in UNITS]
        done = subprocess.run([program, "verify", "--man=no", *files], text=True, capture_output=True)
        complaints = [line for line in done.stderr.splitlines() if "countersign" in line or str(tmp_path) in line]
        assert (done.returncode, complaints) == (0, [])

    @pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.stem)
    def test_none_runs_as_root_or_may_become_it(self, unit: Path) -> None:
        lines = unit.read_text().splitlines()
        assert {"User=countersign", "NoNewPrivileges=yes", "CapabilityBoundingSet=", "ProtectSystem=strict"} <= {*lines}
        assert not any("OWNER" in line for line in lines if not line.startswith("#"))

    def test_prepare_ends_well(self, production: Production) -> None:
        with started("prepare", production) as process:
            until(lambda: not process.is_running)
            assert process.popen and process.popen.returncode == 0, process.log and process.log.read_text()

    def test_the_web_process_becomes_ready(self, production: Production) -> None:
        with started("web", production) as process:

            def is_ready() -> bool:
                try:
                    url = f"http://127.0.0.1:{production.port}/readyz"
                    with urllib.request.urlopen(url, timeout=PATIENCE) as response:
                        return bool(response.status == 200)
                except OSError:
                    return not runs(process)

            until(is_ready)

    def test_the_sweeper_sweeps(self, production: Production) -> None:
        """It expires a session of long ago, which nothing else does."""
        with psycopg.connect(production.url(production.owner)) as owner:
            owner.execute("INSERT INTO django_session VALUES ('old', '', now() - interval '1 year')")
        with started("sweeper", production) as process:
            runs(process)

            def is_swept() -> bool:
                with psycopg.connect(production.url(production.owner)) as owner:
                    found = owner.execute("SELECT FROM django_session WHERE session_key = 'old'").fetchone()
                return runs(process) and found is None

            until(is_swept)

    def test_the_worker_waits_for_tasks(self, production: Production) -> None:
        with Redis.from_url(production.environment["REDIS_URL"]) as connection:
            before = {client["id"] for client in connection.client_list()}

            def is_waiting() -> bool:
                clients = connection.client_list()
                return any(one["cmd"] == "brpop" and one["id"] not in before for one in clients)

            with started("worker", production) as process:
                until(lambda: runs(process) and is_waiting())


@pytest.fixture(scope="module")
def compose() -> Any:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


class TestCompose:
    def test_only_the_migration_knows_the_owner(self, compose: Any) -> None:
        services = compose["services"]
        knows = {name for name, one in services.items() if "OWNER_PASSWORD" in str(one.get("environment"))}
        assert knows == {"postgres", "migrate"}
        assert services["countersign"]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"

    def test_the_settings_are_settings(self, compose: Any) -> None:
        known = {one.name for one in vars(variables).values() if isinstance(one, Variable)}
        for name in ("migrate", "countersign"):
            assert set(compose["services"][name]["environment"]) <= known

    def test_it_sets_what_production_requires(self, compose: Any, production: Production) -> None:
        """The settings of the file, with values in place of its variables, against the checks of a start."""
        values = {
            "COUNTERSIGN_HOST": "auth.example.com", "SECRET_KEY": production.environment["SECRET_KEY"],
            "VAPID_SUBJECT": "mailto:admin@example.com", "COUNTERSIGN_APP_PASSWORD": "0123abcd",
        }  # fmt: skip
        settings = {
            name: re.sub(r"\$\{(\w+)[^}]*\}", lambda found: values.get(found[1], ""), value)
            for name, value in compose["services"]["countersign"]["environment"].items()
        }
        assert settings["DATABASE_URL"] == "postgres://countersign_app:0123abcd@postgres/countersign"
        settings["KEY_ENCRYPTION_KEYS_FILE"] = str(production.keys)
        done = production.manage("check", "--deploy", "--tag", "production", **settings)
        assert done.returncode == 0, done.stderr

    def test_the_files_that_it_mounts_are_shipped_or_documented(self, compose: Any) -> None:
        document = (ROOT / "docs" / "operations.md").read_text()
        mounted = [one.split(":")[0] for service in compose["services"].values() for one in service.get("volumes", [])]
        files = {one.removeprefix("./") for one in mounted if one.startswith("./")}
        assert {"roles.sql", "haproxy.cfg"} <= files
        for name in files:
            assert (DEPLOY / name).exists() or f"deploy/{name}" in document, name

    def test_the_documents_set_each_variable_that_it_demands(self) -> None:
        demanded = set(re.findall(r"\$\{(\w+):\?", (DEPLOY / "compose.yaml").read_text()))
        document = (ROOT / "docs" / "operations.md").read_text()
        assert demanded and {name for name in demanded if f"\n{name}=" not in document} == set()

    def test_the_proxy_is_the_trusted_one(self, compose: Any) -> None:
        address = compose["services"]["proxy"]["networks"]["default"]["ipv4_address"]
        assert compose["services"]["countersign"]["environment"]["TRUSTED_PROXIES"] == address
        used = set(re.findall(r"\$\{(\w+)\}", (DEPLOY / "haproxy.cfg").read_text()))
        assert used == set(compose["services"]["proxy"]["environment"])

    @pytest.mark.parametrize("file", [".gitignore", ".dockerignore"])
    def test_secrets_beside_it_reach_neither_git_nor_the_image(self, file: str) -> None:
        lines = (ROOT / file).read_text().splitlines()
        assert {"deploy/.env", "deploy/certificates", "deploy/key-encryption-keys"} <= set(lines)
