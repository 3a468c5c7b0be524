"""What the benchmarks share: the real product with its durable servers, an agent, and looking at the web process."""

import http.client
import json
import os
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from runtime import postgres  # noqa: E402
from runtime.processes import free_port, is_free  # noqa: E402

JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
FORM = "application/x-www-form-urlencoded"


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


@contextmanager
def product(**settings: str) -> Iterator[tuple[str, Path, "subprocess.Popen[bytes]"]]:
    """`manage.py up --demo` with a data directory of its own; this process is set up to use its database too."""
    folder = Path(tempfile.mkdtemp(prefix="countersign-bench-"))
    port = free_port()
    while not is_free("127.0.0.1", port + 1):
        port = free_port()
    data_dir = folder / "data"
    environment = os.environ | {"DATA_DIR": str(data_dir), "PORT": str(port), "LOG_LEVEL": "ERROR"} | settings
    log = (folder / "log").open("wb")
    command = [sys.executable, ROOT / "manage.py", "up", "--demo"]
    process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=ROOT)  # noqa: S603
    url = f"http://127.0.0.1:{port}"
    try:
        give_up = time.monotonic() + 90
        while not ((data_dir / "run.env").exists() and answers(f"{url}/readyz")):
            if time.monotonic() > give_up or process.poll() is not None:
                raise SystemExit((folder / "log").read_text())
            time.sleep(0.2)
        for line in (data_dir / "run.env").read_text().splitlines():
            name, _, value = line.partition("=")
            os.environ[name] = value
        os.environ |= settings
        os.environ |= {"DATA_DIR": str(data_dir), "DJANGO_SETTINGS_MODULE": "authserver.settings", "LOG_LEVEL": "ERROR"}
        yield url, data_dir, process
    finally:
        process.terminate()
        process.wait(30)
        postgres.delete_cluster(data_dir)
        shutil.rmtree(folder)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - our own address
            return True
    except OSError:
        return False


def leave_database() -> None:
    """Before a fork: no connection and no thread of a pool is shared."""
    from django.db import connections

    for connection in connections.all():
        connection.close()
        connection.close_pool()  # type: ignore[attr-defined]  # PostgreSQL's has one


def superuser_url(data_dir: Path, database: str = postgres.DATABASE) -> str:
    """Of the product's own PostgreSQL."""
    port = urlsplit(os.environ["DATABASE_URL"]).port or 5432
    return postgres.url("postgres", postgres.passwords(data_dir), port, database)


def backend_login() -> dict[str, Any]:
    """As the administrator of the demo's backend."""
    from credentials.backends.secrets import target_of
    from credentials.models import Backend

    target = target_of(Backend.objects.get())
    at = target.settings
    return {
        "host": at["host"], "port": at["port"], "dbname": at["database"], "user": at["user"], "password": target.secret
    }  # fmt: skip


def sign_in(user: Any) -> str:
    """A new session, as accounts/sessions.py begins it: its key."""
    from django.conf import settings
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY

    from accounts.session_store import SessionStore
    from accounts.sessions import SIGNED_IN_AT

    session = SessionStore()
    session[SESSION_KEY], session[BACKEND_SESSION_KEY] = str(user.pk), settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY], session[SIGNED_IN_AT] = user.get_session_auth_hash(), time.time()
    session.create()
    return str(session.session_key)


# --- the web process


def web_process(supervisor: int) -> int:
    """granian's worker, which holds the connections."""
    for web in _children(supervisor):
        if b"granian" in Path(f"/proc/{web}/cmdline").read_bytes() and _children(web):
            return max(_children(web))
    raise SystemExit("there is no web process")


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def memory(pid: int) -> int:
    """KiB in RAM."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def cpu_share(pid: int, seconds: float = 0.4) -> float:
    """The share of one core that it takes just now."""

    def ticks() -> int:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    before = ticks()
    time.sleep(seconds)
    return (ticks() - before) / os.sysconf("SC_CLK_TCK") / seconds


def open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - a name each, and nothing more


# --- an agent


class Agent:
    """An agent that may ask for `openid`, with its private key."""

    def __init__(self, name: str) -> None:
        from joserfc.jwk import ECKey

        from clients.models import CIBA, CLIENT_CREDENTIALS
        from clients.models import Agent as Row
        from operations.models import Scope

        self.key: Any = ECKey.generate_key("P-256", auto_kid=True)
        public = {**self.key.as_dict(private=False), "kid": self.key.kid}
        self.row = Row(name=name, client_jwks={"keys": [public]}, grant_types=[CIBA, CLIENT_CREDENTIALS])
        self.row.save()
        scope = Scope.objects.filter(risk="routine").first()
        if scope is None:
            raise SystemExit("the demo has no routine scope")
        self.row.scopes.add(scope)
        self.scope = scope.name

    def use_secret(self) -> dict[str, str]:
        """From now on it is authenticated by a secret in the body: these parameters."""
        from django.db import transaction
        from django.utils import timezone

        from clients.models import AgentSecret

        self.row.token_endpoint_auth_method = self.row.AuthMethod.CLIENT_SECRET_POST
        with transaction.atomic():
            self.row.save()
            secret = AgentSecret.issue(self.row, timezone.now())
        return {"client_id": self.row.client_id, "client_secret": secret}

    def form(self, **parameters: str) -> bytes:
        return urlencode(
            parameters | {"client_assertion_type": JWT_BEARER, "client_assertion": self.assertion()}
        ).encode()

    def assertion(self) -> str:
        from django.conf import settings
        from joserfc import jws

        now = int(time.time())
        client_id = self.row.client_id
        claims = {"iss": client_id, "sub": client_id, "aud": settings.ISSUER_URL, "iat": now, "exp": now + 600}
        payload = json.dumps(claims | {"jti": secrets.token_hex(16)})
        return jws.serialize_compact({"alg": "ES256", "kid": self.key.kid}, payload, self.key, algorithms=["ES256"])

    def token_times(self, url: str, count: int = 300) -> list[float]:
        """Milliseconds of so many client_credentials requests, one after the other on one connection."""
        forms = [self.form(grant_type="client_credentials", scope=self.scope) for _ in range(count)]
        connection = http.client.HTTPConnection(url.removeprefix("http://"))
        times = []
        for form in forms:
            began = time.perf_counter()
            connection.request("POST", "/oauth/token", form, {"Content-Type": FORM})
            response = connection.getresponse()
            body = response.read()
            times.append((time.perf_counter() - began) * 1000)
            if response.status != 200:
                raise SystemExit(f"a token request was refused: {body!r}")
        connection.close()
        return times


def percentiles(times: list[float]) -> str:
    """`p50 1.2, p99 3.4 ms` of milliseconds."""
    ordered = sorted(times)
    return f"p50 {statistics.median(ordered):.1f}, p99 {ordered[int(len(ordered) * 0.99) - 1]:.1f} ms"
