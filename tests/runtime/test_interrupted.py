"""Starts that were interrupted, and environments that contradict themselves: the next start is right all the same."""

import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import psycopg
import pytest

from runtime import postgres, up
from runtime.processes import free_port
from tests.patience import PATIENCE
from tests.runtime.test_up import folder, one_sentence, product, run_up, until  # noqa: F401 - two are fixtures
from tests.stories.conftest import ROOT, Product


@pytest.fixture
def cluster(folder: Path) -> Iterator[Path]:  # noqa: F811
    """Where the folder's PostgreSQL keeps its data; what was set aside beside it is deleted."""
    cluster = postgres._cluster(folder, postgres._account())
    yield cluster
    for left in cluster.parent.glob(f"{cluster.name}.*"):
        shutil.rmtree(left)


class TestPostgres:
    def test_an_interrupted_initdb_leaves_nothing_that_looks_done(self, folder: Path, cluster: Path) -> None:  # noqa: F811
        partial = cluster.with_name(f"{cluster.name}.partial")
        partial.mkdir(parents=True)
        (partial / "PG_VERSION").write_text("16")
        postgres.start(folder, durable=False).process.stop()
        assert not partial.exists()

    def test_data_without_its_passwords_is_kept_aside(self, folder: Path, cluster: Path) -> None:  # noqa: F811
        postgres.start(folder, durable=False).process.stop()
        shutil.rmtree(folder / "keys")
        server = postgres.start(folder, durable=False)
        assert server.process.is_running
        server.process.stop()
        (aside,) = cluster.parent.glob(f"{cluster.name}.2*")
        assert (aside / "PG_VERSION").exists()

    def test_a_database_made_by_an_interrupted_start_is_closed_by_the_next(self, folder: Path) -> None:  # noqa: F811
        server = postgres.start(folder, durable=False)
        with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
            connection.execute("CREATE ROLE outsider LOGIN PASSWORD 'outsider'")
            connection.execute("GRANT CONNECT ON DATABASE countersign TO PUBLIC")
        server.process.stop()
        server = postgres.start(folder, durable=False)
        try:
            with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
                psycopg.connect(f"postgres://outsider:outsider@127.0.0.1:{server.port}/countersign")
        finally:
            server.process.stop()


class TestRefusals:
    def test_an_unreachable_owner(self, product: Product) -> None:  # noqa: F811
        url = f"postgres://owner:secret-word@127.0.0.1:{free_port()}/nothing"
        environment = product.environment | {"DATABASE_OWNER_URL": url}
        assert one_sentence(run_up(environment, "--demo")).startswith("DATABASE_OWNER_URL cannot be reached: ")

    def test_what_is_no_database_url_is_not_repeated(self, product: Product) -> None:  # noqa: F811
        environment = product.environment | {"DATABASE_URL": "countersign:secret-word"}
        sentence = one_sentence(run_up(environment, "--demo"))
        assert sentence == "DATABASE_URL is not the URL of a PostgreSQL database."

    @pytest.mark.parametrize("variable", ["PORT", "DEMO_API_PORT"])
    def test_a_port_out_of_range(self, product: Product, variable: str) -> None:  # noqa: F811
        sentence = one_sentence(run_up(product.environment | {variable: "70000"}, "--demo"))
        assert sentence == f"{variable} must be a whole number from 1 to 65535."

    def test_demo_and_test_keys_are_not_for_production(self, product: Product) -> None:  # noqa: F811
        completed = run_up(product.environment | {"DEMO": "1", "COUNTERSIGN_TESTING": "1"})
        assert completed.returncode == 1
        assert "SECRET_KEY must be set" in completed.stderr


def test_a_signal_while_starting_is_a_clean_end(product: Product) -> None:  # noqa: F811
    process = subprocess.Popen(
        [sys.executable, ROOT / "manage.py", "up", "--demo"],
        env=product.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    until((product.data_dir / "run.env").exists)
    process.send_signal(signal.SIGINT)
    output, problems = process.communicate(timeout=PATIENCE)
    assert (process.returncode, problems) == (0, "")
    assert "Stopped. Your data is kept." in output


class Ready(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/readyz" else 404)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_asking_our_own_process_uses_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("no_proxy", "")
    with HTTPServer(("127.0.0.1", 0), Ready) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        try:
            assert up._readiness(f"http://127.0.0.1:{server.server_port}") is None
        finally:
            socket.create_connection(server.server_address, timeout=1).close()  # lets a server that nobody asked end
            thread.join()


def test_an_answer_that_is_not_ours_is_a_problem_and_no_crash() -> None:
    with HTTPServer(("127.0.0.1", 0), Ready) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        assert up._readiness(f"http://127.0.0.1:{server.server_port}/elsewhere") == "it answers 404 "
        thread.join()


def test_no_running_process_knows_the_owner(tmp_path: Path) -> None:
    plan = up.Plan(True, tmp_path, 8000, 8001, "127.0.0.1", "http://localhost:8000", 1, 8, 10_000)
    processes = up.table(plan, {"DATABASE_URL": "postgres://app", "DATABASE_OWNER_URL": "postgres://owner"})
    assert [process.name for process in processes] == ["web", "sweeper", "worker", "demo API"]
    # Empty, and not missing: the settings would take a missing one from run.env.
    assert [process.environment["DATABASE_OWNER_URL"] for process in processes] == [""] * 4


def test_a_signal_at_any_moment_is_heard() -> None:
    """A handler that takes a lock hangs where the signal comes while the main thread holds it."""
    script = """
        import os, signal, sys
        from runtime.supervisor import Supervisor
        supervisor = Supervisor(print)

        def interrupt(frame, event, argument):
            if frame.f_code.co_name in ("run", "wait"):
                os.kill(os.getpid(), signal.SIGTERM)
            return interrupt

        sys.settrace(interrupt)
        supervisor.run()
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], cwd=ROOT, timeout=PATIENCE, check=True)
