"""The peer of `make bench`: oidc-provider (bench/peer) on our PostgreSQL, in a database of its own."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from load import Connection, exchange_all, post_json
from parties import CALLBACK, CHALLENGE, Parties
from product import ROOT, superuser_url

from runtime.processes import free_port

SOURCES = ROOT / "bench" / "peer"
DATABASE = "bench_peer"
BATCH = 100


class NodePeer:
    def __init__(self, port: int, server: int, parties: Parties) -> None:
        self.port, self.server, self.parties = port, server, parties

    def codes(self, count: int, scope: str) -> list[str]:
        return self._make("code", count, scope, redirect_uri=CALLBACK, code_challenge=CHALLENGE)

    def refresh_tokens(self, count: int, scope: str) -> list[str]:
        return self._make("refresh_token", count, scope)

    def open_requests(self, count: int, scope: str) -> list[str]:
        return self._make("auth_req_id", count, scope)

    async def approve(self, connection: Connection, auth_req_id: str, _number: int) -> None:
        body = [{"auth_req_id": auth_req_id}]
        await connection.expect(post_json("/internal/approval", self.parties.host, body), 200, "approved")

    def _make(self, what: str, count: int, scope: str, **more: str) -> list[str]:
        users, client_id = self.parties.users, self.parties.client_id
        wanted = [
            {"client_id": client_id, "user": users[number % len(users)].email, "scope": scope, **more}
            for number in range(count)
        ]
        batches = [wanted[start : start + BATCH] for start in range(0, count, BATCH)]
        requests = [post_json(f"/internal/{what}", self.parties.host, batch) for batch in batches]
        return [one for body in exchange_all(self.port, requests, 200, "[") for one in json.loads(body)]


def version() -> str:
    from tests.node import node

    lock = json.loads((SOURCES / "package-lock.json").read_text())
    runs_on = subprocess.run([node(), "--version"], capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603
    return f"oidc-provider {lock['packages']['node_modules/oidc-provider']['version']} on Node {runs_on}"


@contextmanager
def started(data_dir: Path, parties: Parties) -> Iterator[NodePeer]:
    from tests.node import installed_packages, node

    with psycopg.connect(superuser_url(data_dir), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {DATABASE}")
    folder = Path(tempfile.mkdtemp(prefix="countersign-bench-peer-"))
    try:
        for program in SOURCES.glob("*.mjs"):
            shutil.copy(program, folder)
        (folder / "node_modules").symlink_to(installed_packages(SOURCES))
        port = free_port()
        settings = {"port": port, "issuer": parties.issuer, "database": superuser_url(data_dir, DATABASE)}
        (folder / "settings.json").write_text(json.dumps(settings | parties.for_peer()))
        environment = os.environ | {"NODE_ENV": "production"}
        command = [node(), "server.mjs", "settings.json"]
        with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
            try:
                if process.stdout is None or process.stdout.readline().strip() != "ready":
                    raise SystemExit("the peer did not start")
                yield NodePeer(port, process.pid, parties)
            finally:
                process.terminate()
    finally:
        shutil.rmtree(folder)
