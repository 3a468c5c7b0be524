"""`manage.py up` and what it starts: one sentence where it cannot, nothing left behind, crashes restarted."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from redis import Redis

from runtime import CannotStart, postgres, redis, up
from runtime.processes import Process, free_port
from runtime.supervisor import Supervisor
from tests.patience import PATIENCE, until
from tests.stories.conftest import ROOT, Product, free_port_pair
from tests.support import postgres_template


def is_alive(pid: int) -> bool:
    """Zombies are dead: whoever should reap them is gone with its parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def descendants(pid: int) -> list[int]:
    try:
        children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []
    return children + [one for child in children for one in descendants(child)]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A data directory; its embedded cluster is deleted with it."""
    path = Path(tempfile.mkdtemp(prefix="countersign-up-"))
    yield path
    cluster_of_root = path / "keys" / "postgres.json"
    if cluster_of_root.exists():
        postgres.delete_cluster(path)
    shutil.rmtree(path)


@pytest.fixture
def product(folder: Path) -> Iterator[Product]:
    data = folder / "data"
    product = Product(data, free_port_pair())
    yield product
    product.stop()
    if (data / "keys" / "postgres.json").exists():
        postgres.delete_cluster(data)


def a_worker_waits_for_tasks(data_dir: Path) -> bool:
    """Celery's worker has loaded and listens on its queue."""
    settings = dict(line.partition("=")[::2] for line in (data_dir / "run.env").read_text().splitlines())
    with Redis.from_url(settings["REDIS_URL"]) as connection:
        return any(client["cmd"] == "brpop" for client in connection.client_list())


def run_up(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "manage.py", "up", *arguments]
    return subprocess.run(command, env=environment, cwd=ROOT, text=True, capture_output=True, timeout=PATIENCE)


def one_sentence(completed: subprocess.CompletedProcess[str]) -> str:
    """The only line of a refused start."""
    assert completed.returncode == 1
    assert "Traceback" not in completed.stdout + completed.stderr
    lines = completed.stderr.strip().splitlines()
    assert len(lines) == 1, completed.stderr
    return lines[0]


class TestRefusals:
    def test_a_taken_port(self, product: Product) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", product.port))
            taken.listen()
            sentence = one_sentence(run_up(product.environment, "--demo"))
        assert sentence == f"Port {product.port} is taken by another program; set PORT to a free one."

    def test_an_unreachable_database(self, product: Product) -> None:
        url = f"postgres://nobody:secret-word@127.0.0.1:{free_port()}/nothing"
        sentence = one_sentence(run_up(product.environment | {"DATABASE_URL": url}, "--demo"))
        assert sentence.startswith("DATABASE_URL cannot be reached: ")
        assert "secret-word" not in sentence

    def test_a_redis_url_that_is_none(self, product: Product) -> None:
        sentence = one_sentence(run_up(product.environment | {"REDIS_URL": "secret-word@nonsense"}, "--demo"))
        assert sentence == "REDIS_URL is not the URL of a Redis: redis://, rediss:// or unix://."

    def test_a_public_issuer_of_the_demo(self, product: Product) -> None:
        environment = product.environment | {"ISSUER_URL": "https://auth.example.com"}
        assert "refuses the public ISSUER_URL" in one_sentence(run_up(environment, "--demo"))

    def test_a_port_that_is_no_number(self, product: Product) -> None:
        sentence = one_sentence(run_up(product.environment | {"PORT": "http"}, "--demo"))
        assert sentence == "PORT must be a whole number from 1 to 65535."

    @pytest.mark.parametrize("name", ["WEB_WORKERS", "WORKER_THREADS", "WEB_WAITING", "DEMO_API_PORT", "PORT"])
    @pytest.mark.parametrize("value", ["-1", "many", "1.5", "9999999"])
    def test_a_number_that_is_none(self, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
        monkeypatch.setenv(name, value)
        with pytest.raises(CannotStart, match=rf"^{name} must be a whole number from"):
            up.Plan.read(demo=True)

    @pytest.mark.parametrize("issuer", ["localhost:8000", "http://localhost:8000/a", "http://[::1"])
    def test_an_issuer_that_is_none(self, monkeypatch: pytest.MonkeyPatch, issuer: str) -> None:
        monkeypatch.setenv("ISSUER_URL", issuer)
        with pytest.raises(CannotStart, match=r"^ISSUER_URL must look like"):
            up.Plan.read(demo=True)

    def test_a_missing_redis(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "/nonexistent")
        monkeypatch.setattr(redis, "find_spec", lambda name: None)
        with pytest.raises(CannotStart, match="apt-get install redis-server"):
            redis.find_binary()

    def test_a_missing_postgresql(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(postgres, "find_spec", lambda name: None)
        with pytest.raises(CannotStart, match="set DATABASE_URL"):
            postgres.start(folder)

    def test_production_without_its_settings(self, product: Product) -> None:
        completed = run_up(product.environment)
        assert completed.returncode == 1
        assert "Traceback" not in completed.stdout + completed.stderr
        assert "ISSUER_URL must be an https URL." in completed.stderr
        assert "SECRET_KEY must be set" in completed.stderr
        assert "KEY_ENCRYPTION_KEYS_FILE must name" in completed.stderr


class TestRunning:
    def test_a_second_start_says_so_and_a_killed_child_comes_back_and_nothing_is_left(self, product: Product) -> None:
        product.start()
        process = product.process
        assert process is not None
        steps = [
            product.output().index(step)
            for step in ("Starting PostgreSQL", "Preparing", "  tables of ", "Starting the web")
        ]
        assert steps == sorted(steps), "a first start takes some seconds, and shows how far it is"
        sentence = one_sentence(run_up(product.environment, "--demo"))
        assert sentence == f"Countersign is already running at {product.url} (process {process.pid})."
        assert (product.data_dir / "run.env").stat().st_mode & 0o777 == 0o600
        assert product.data_dir.stat().st_mode & 0o777 == 0o700

        until(lambda: a_worker_waits_for_tasks(product.data_dir))
        assert "ended unexpectedly" not in product.output()

        web = next(pid for pid in descendants(process.pid) if b"granian" in Path(f"/proc/{pid}/cmdline").read_bytes())
        os.kill(web, signal.SIGKILL)
        until(lambda: "web ended unexpectedly (SIGKILL); it starts again in 0.5 s." in product.output())
        product.wait_until_ready()

        everything = descendants(process.pid)
        assert len(everything) >= 5
        process.kill()  # the supervisor's own death, with no time to clean up
        process.wait()
        until(lambda: not any(is_alive(pid) for pid in everything))

        product.start()  # the data is kept, and what the dead one left does not keep us from starting
        assert product.process is not None
        everything = descendants(product.process.pid)
        product.process.send_signal(signal.SIGINT)
        assert product.process.wait(timeout=PATIENCE) == 0
        assert not any(is_alive(pid) for pid in everything)
        assert "Stopped. Your data is kept." in product.output()
        assert not (product.data_dir / "run.env").exists()

    def test_a_killed_database_comes_back_and_requests_continue(self, product: Product) -> None:
        product.start()
        assert product.process is not None
        # Browsers keep connections open: a hundred that say nothing shut nobody out.
        idle = [socket.create_connection(("127.0.0.1", product.port)) for _ in range(100)]
        for connection in idle:
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b"200" in connection.recv(1000)
        product.wait_until_ready()
        for connection in idle:
            connection.close()
        for name in (b"bin/postgres", b"redis-server"):
            pid = next(p for p in descendants(product.process.pid) if name in Path(f"/proc/{p}/cmdline").read_bytes())
            os.kill(pid, signal.SIGKILL)
            until(lambda pid=pid: not is_alive(pid))
            product.wait_until_ready()


class TestPostgres:
    def test_roles_authentication_and_folders(self, folder: Path) -> None:
        server = postgres.start(folder, durable=False)
        try:
            with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
                assert connection.execute("SHOW server_version_num").fetchone() >= ("150000",)
                hba = connection.execute("SELECT DISTINCT auth_method FROM pg_hba_file_rules").fetchall()
                assert hba == [("scram-sha-256",)]
                roles = connection.execute(
                    "SELECT rolname, rolsuper, rolcreatedb FROM pg_roles WHERE rolname LIKE 'countersign%' ORDER BY 1"
                ).fetchall()
                assert roles == [("countersign_app", False, False), ("countersign_owner", False, True)]
                connection.execute("CREATE ROLE outsider LOGIN PASSWORD 'outsider'")
            with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
                psycopg.connect(f"postgres://outsider:outsider@127.0.0.1:{server.port}/countersign")
            with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
                psycopg.connect(f"postgres://countersign_app:wrong@127.0.0.1:{server.port}/countersign")
            assert (folder / "keys" / "postgres.json").stat().st_mode & 0o777 == 0o600
        finally:
            server.process.stop()
        again = postgres.start(folder, durable=False)
        again.process.stop()

    def test_other_passwords_are_said_at_once(self, folder: Path) -> None:
        postgres.start(folder, durable=False).process.stop()
        stored = folder / "keys" / "postgres.json"
        stored.write_text(json.dumps(dict.fromkeys(json.loads(stored.read_text()), "another")))
        with pytest.raises(CannotStart, match=r"other passwords than keys/postgres\.json"):
            postgres.start(folder, durable=False)

    def test_a_template_begins_anew_after_a_killed_run(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(postgres_template, "FOLDER", folder)
        monkeypatch.setattr(postgres_template, "TEMPLATE", folder / "template-x")
        postgres.start(folder / "template-x", durable=False).process.stop()
        (folder / "template-x" / "keys" / "postgres.json").unlink()
        postgres_template.passwords()
        data_dir = folder / "data"
        data_dir.mkdir()
        try:
            postgres_template.copy_to(data_dir)
            server = postgres.start(data_dir, durable=False)
            with psycopg.connect(server.url(postgres.APPLICATION)) as connection:
                assert connection.execute("SELECT count(*) FROM clients_agent").fetchone() == (0,)
            server.process.stop()
        finally:
            postgres.delete_cluster(data_dir)
            postgres.delete_cluster(folder / "template-x")

    def test_a_stale_pid_file_does_not_keep_it_from_starting(self, folder: Path) -> None:
        postgres.start(folder, durable=False).process.stop()
        cluster = postgres._cluster(folder, postgres._account())
        (cluster / "postmaster.pid").write_text(f"{os.getpid()}\n{cluster}\n")
        server = postgres.start(folder, durable=False)
        assert server.process.is_running
        server.process.stop()

    def test_the_servers_die_with_the_process_that_started_them(self, folder: Path) -> None:
        script = f"""
            import json, sys, time
            from pathlib import Path
            from runtime import postgres, redis
            started = [postgres.start(Path({str(folder)!r}), durable=False), redis.start(Path({str(folder)!r}))]
            print(json.dumps([one.process.popen.pid for one in started]), flush=True)
            time.sleep(60)
        """
        parent = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(script)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert parent.stdout is not None
        line = next(line for line in iter(parent.stdout.readline, "") if line.startswith("["))
        pids = json.loads(line)
        parent.kill()
        parent.wait()
        parent.stdout.close()
        until(lambda: not any(is_alive(pid) for pid in pids))


class TestSupervisor:
    @pytest.fixture
    def signals(self) -> Iterator[None]:
        """The supervisor takes the test run's signals over; the test restores them."""
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = [signal.getsignal(number) for number in numbers]
        yield
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)

    def test_a_crashing_process_is_restarted_later_each_time(self, signals: None) -> None:
        said: list[str] = []
        supervisor = Supervisor(said.append)
        supervisor.start([Process("clumsy", [sys.executable, "-c", "raise SystemExit(3)"], dict(os.environ))])

        def crashed_twice() -> bool:
            supervisor.check()
            return len(said) >= 2

        until(crashed_twice)
        supervisor.stop()
        assert said == [
            "clumsy ended unexpectedly (exit code 3); it starts again in 0.5 s.",
            "clumsy ended unexpectedly (exit code 3); it starts again in 1 s.",
        ]

    def test_a_process_that_does_not_listen_is_ended_by_force_with_its_children(self, signals: None) -> None:
        stubborn = """
            import signal, subprocess, sys, time
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
            print(child.pid, flush=True)
            time.sleep(60)
        """
        with tempfile.NamedTemporaryFile() as log:
            command = [sys.executable, "-c", textwrap.dedent(stubborn)]
            process = Process("stubborn", command, dict(os.environ), grace=0.3, log=Path(log.name))
            process.start()
            until(lambda: Path(log.name).read_text().strip())
            child = int(Path(log.name).read_text())
            assert process.popen is not None
            process.stop()
            until(lambda: not is_alive(child))
            assert process.popen.returncode == -signal.SIGKILL


def test_counters_of_an_earlier_run_are_not_summed_up(tmp_path: Path) -> None:
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "counter_1.db").write_bytes(b"old")
    folder = up._make_metrics_folder(tmp_path)
    assert list(folder.iterdir()) == [] and folder.stat().st_mode & 0o777 == 0o700
    (tmp_path / "file").touch()
    with pytest.raises(CannotStart, match="cannot be made"):
        up._make_metrics_folder(tmp_path / "file")
