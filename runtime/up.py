"""`manage.py up`: checks, servers, migrations, processes, in this order.

On a problem prints one sentence and exits with 1.
"""

import argparse
import fcntl
import json
import os
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import psycopg

from authserver import variables
from authserver.environment import Environment
from runtime import CannotStart, orders, postgres, redis
from runtime.patience import Patience
from runtime.processes import Process, is_free, write_private
from runtime.supervisor import Supervisor

ROOT = Path(__file__).resolve().parent.parent
READY_TIMEOUT_S = 60.0  # seconds since the last progress
# The variables with which `manage.py` in a second terminal finds the running product.
SHARED_VARIABLES = ("DATABASE_URL", "DATABASE_OWNER_URL", "REDIS_URL", "PORT", "ISSUER_URL", "DEMO", "DEMO_API_PORT")


@dataclass(frozen=True)
class Plan:
    """The configuration of a run, from the environment and the command line."""

    demo: bool
    data_dir: Path
    port: int
    demo_api_port: int
    bind: str
    issuer: str
    web_workers: int
    worker_threads: int
    web_waiting: int

    @classmethod
    def read(cls, demo: bool) -> "Plan":
        """Reads the environment and the command line. Raises CannotStart."""
        env = Environment(os.environ)
        port = env.read(variables.PORT)
        demo_api_port = env.read(variables.DEMO_API_PORT, min(port + 1, 65535)) if demo else 0
        issuer = env.read(variables.ISSUER_URL, f"http://localhost:{port}")
        data_dir = Path(env.read(variables.DATA_DIR, str(ROOT / ".data"))).resolve()
        bind = "127.0.0.1" if demo else env.read(variables.BIND_ADDRESS)
        workers, threads = env.read(variables.WEB_WORKERS), env.read(variables.WORKER_THREADS)
        waiting = env.read(variables.WEB_WAITING)
        if env.problems:
            raise CannotStart("\n".join(env.problems))
        if demo and not _is_loopback(issuer) and os.environ.get(variables.DEMO_ALLOW_PUBLIC.name) != "1":
            raise CannotStart(
                f"The demo has well-known accounts and refuses the public ISSUER_URL {issuer}; "
                "set DEMO_ALLOW_PUBLIC=1 if that is what you want."
            )
        return cls(demo, data_dir, port, demo_api_port, bind, issuer, workers, threads, waiting)

    @property
    def local_url(self) -> str:
        host = "127.0.0.1" if self.bind in ("0.0.0.0", "127.0.0.1") else self.bind  # noqa: S104
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="manage.py up", description="Runs the whole product until Ctrl-C.")
    parser.add_argument(
        "--demo", action="store_true", help="with the users, the agents and the API of a demo, on loopback only"
    )
    demo = parser.parse_args(arguments).demo
    supervisor = Supervisor(_print)
    run_env: Path | None = None
    lock: IO[str] | None = None
    try:
        plan = Plan.read(demo)
        _make_data_dir(plan.data_dir)
        lock = _acquire_lock(plan)
        run_env = plan.data_dir / "run.env"
        run(plan, supervisor, run_env)
    except CannotStart as reason:
        print(reason, file=sys.stderr)  # noqa: T201
        return 1
    finally:
        supervisor.stop()
        if run_env:
            run_env.unlink(missing_ok=True)
        if lock:
            # released last, when the servers have ended and run.env is removed, so that the next
            # run may start
            lock.close()
    _print("Stopped. Your data is kept.")
    return 0


def run(plan: Plan, supervisor: Supervisor, run_env: Path) -> None:
    """Starts everything and serves until a signal. Raises CannotStart."""
    ports = {"PORT": plan.port} | ({"DEMO_API_PORT": plan.demo_api_port} if plan.demo else {})
    for variable, port in ports.items():
        _check_port(plan.bind, port, variable)
    _print("Starting PostgreSQL and Redis ...")
    environment = _start_servers(plan, supervisor)
    write_private(run_env, "".join(f"{name}={environment[name]}\n" for name in SHARED_VARIABLES if name in environment))
    prepared = Path(environment["COUNTERSIGN_PREPARED_FILE"])
    prepared.unlink(missing_ok=True)
    processes = table(plan, environment)
    # The demo's web process loads meanwhile, and serves when the database is prepared (wsgi.py). In
    # production the settings are checked first.
    early = 1 if plan.demo else 0
    supervisor.start(processes[:early])
    _print("Preparing the database ...")
    if not prepare(environment, supervisor):
        return
    prepared.touch()
    _print("Starting the web server ...")
    supervisor.start(processes[early:])
    if _wait_until_ready(plan, supervisor, processes[0]):
        _print(f"Countersign is running at {plan.issuer} (Ctrl-C stops it).")
        if plan.demo:
            _print("Next, in a second terminal: make agent")
    supervisor.run()


def table(plan: Plan, environment: dict[str, str]) -> list[Process]:
    """All processes of the product."""
    python, manage = sys.executable, ROOT / "manage.py"
    # Only `prepare` uses the owner's account. The variable is empty instead of missing, so that
    # run.env does not restore it.
    environment = environment | {"DATABASE_OWNER_URL": ""}
    web = [
        python, "-m", "granian", "--interface", "asgi", "authserver.asgi:application",
        "--host", plan.bind, "--port", str(plan.port), "--http", "1",
        "--workers", str(plan.web_workers),
        # Granian counts connections, including idle and waiting ones. The limit is far above the
        # number of threads, so that browsers that keep connections open do not block others. The
        # front limits the work (web).
        "--backpressure", str(plan.web_waiting + 8192), "--backlog", "4096",
        "--respawn-failed-workers", "--workers-kill-timeout", "5s", "--no-ws",
        "--log-level", "error", "--working-dir", str(ROOT),
    ]  # fmt: skip
    worker = [
        python, "-m", "celery", "--app", "authserver.worker", "--workdir", str(ROOT), "--quiet", "worker",
        "--pool", "threads", "--concurrency", str(plan.worker_threads),
        "--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "warning",
    ]  # fmt: skip
    processes = [
        Process("web", web, environment, grace=8.0),
        Process("sweeper", [python, manage, "sweeper"], environment),
        Process("worker", worker, environment, grace=8.0),
    ]
    if plan.demo:
        processes.append(Process("demo API", [python, ROOT / "examples" / "demo_api.py"], environment))
    return processes


def _print(text: str) -> None:
    print(text, flush=True)  # noqa: T201


def _make_data_dir(data_dir: Path) -> None:
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        data_dir.chmod(0o700)
    except OSError as error:
        raise CannotStart(f"DATA_DIR {data_dir} cannot be used: {error.strerror}.") from error


def _acquire_lock(plan: Plan) -> IO[str]:
    lock = (plan.data_dir / "up.lock").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.seek(0)
        holder = json.loads(lock.read() or "{}")
        lock.close()
        raise CannotStart(
            f"Countersign is already running at {holder.get('url', 'this data directory')} "
            f"(process {holder.get('pid', 'unknown')})."
        ) from error
    lock.truncate(0)
    lock.write(json.dumps({"pid": os.getpid(), "url": plan.issuer}))
    lock.flush()
    return lock


def _start_servers(plan: Plan, supervisor: Supervisor) -> dict[str, str]:
    """The environment of all processes. Starts a server for each URL that the user did not set. Raises CannotStart."""
    environment = dict(os.environ) | {
        "DATA_DIR": str(plan.data_dir),
        "PORT": str(plan.port),
        "ISSUER_URL": plan.issuer,
        "COUNTERSIGN_PREPARED_FILE": str(plan.data_dir / "prepared"),
        "PYTHONUNBUFFERED": "1",
        "DJANGO_SETTINGS_MODULE": "authserver.settings",
    }
    # The generated keys of the demo and the tests are for --demo and pytest only, regardless of the
    # environment.
    environment |= {"DEMO": "1" if plan.demo else "0", "COUNTERSIGN_TESTING": "0"}
    if plan.demo:
        environment["DEMO_API_PORT"] = str(plan.demo_api_port)
    if environment.get("METRICS_TOKEN") and not environment.get("PROMETHEUS_MULTIPROC_DIR"):
        environment["PROMETHEUS_MULTIPROC_DIR"] = str(_make_metrics_folder(plan.data_dir))
    for variable in ("DATABASE_URL", "DATABASE_OWNER_URL"):
        if url := environment.get(variable):
            _check_database(variable, url)
    if environment.get("DATABASE_OWNER_URL") and not environment.get("DATABASE_URL"):
        raise CannotStart(
            "DATABASE_OWNER_URL is set without DATABASE_URL: set both, or none for an embedded PostgreSQL."
        )
    if url := environment.get("REDIS_URL"):
        if not url.startswith(("redis://", "rediss://", "unix://")):
            raise CannotStart("REDIS_URL is not the URL of a Redis: redis://, rediss:// or unix://.")
    else:
        cache = redis.start(plan.data_dir)
        supervisor.adopt(cache.process)
        environment["REDIS_URL"] = cache.url
    if not environment.get("DATABASE_URL"):
        database = postgres.start(plan.data_dir)
        supervisor.adopt(database.process)
        environment["DATABASE_URL"] = database.url(postgres.APPLICATION)
        environment["DATABASE_OWNER_URL"] = database.url(postgres.OWNER)
        if plan.demo:
            orders.make(database, plan.data_dir)
    return environment


def _make_metrics_folder(data_dir: Path) -> Path:
    """Creates an empty folder at each start, so that files of dead processes are not added up. Raises CannotStart."""
    folder = data_dir / "metrics"
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise CannotStart(f"{folder} cannot be made: {error.strerror}.") from error
    return folder


def _check_database(variable: str, url: str) -> None:
    try:
        with psycopg.connect(url, connect_timeout=5):
            pass
    except psycopg.OperationalError as error:
        reason = str(error).strip().splitlines()[0]
        raise CannotStart(f"{variable} cannot be reached: {reason}") from error
    except psycopg.ProgrammingError:
        # The error's text quotes its input, which may be a password.
        raise CannotStart(f"{variable} is not the URL of a PostgreSQL database.") from None


def prepare(environment: dict[str, str], supervisor: Supervisor) -> bool:
    """Checks settings, migrates the database, creates keys, seeds the demo. Raises CannotStart.

    False if a signal came first.
    """
    process = Process("prepare", [sys.executable, ROOT / "manage.py", "prepare"], environment, grace=2.0)
    process.start()
    while process.is_running and not supervisor.is_stopping:
        time.sleep(0.02)
    if supervisor.is_stopping:
        process.stop()
        return False
    if process.popen is None or process.popen.returncode != 0:
        raise CannotStart("Countersign did not start; the lines above say why.")
    return True


def _check_port(address: str, port: int, variable: str) -> None:
    try:
        free = is_free(address, port)
    except OSError as error:
        raise CannotStart(f"Port {port} cannot be used at {address}: {error.strerror}.") from error
    if not free:
        raise CannotStart(f"Port {port} is taken by another program; set {variable} to a free one.")


def _wait_until_ready(plan: Plan, supervisor: Supervisor, web: Process) -> bool:
    patience = Patience(READY_TIMEOUT_S, time.monotonic())
    while not supervisor.is_stopping:
        supervisor.check()
        problem = _readiness(plan.local_url)
        if problem is None:
            return True
        if patience.is_over(time.monotonic(), web.processor_time(), problem):
            raise CannotStart(
                f"The web process did not become ready ({problem}): no progress for {READY_TIMEOUT_S:g} s."
            )
        time.sleep(0.05)
    return False


def _readiness(url: str) -> str | None:
    """The problem that /readyz reports, or None if it is ready."""
    # Without a proxy, because http_proxy is not meant for our own process.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/readyz", timeout=5):
            return None
    except urllib.error.HTTPError as error:
        return f"it answers {error.code} {error.read(500).decode(errors='replace')}"
    except OSError:
        return "no answer"
