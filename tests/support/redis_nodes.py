"""Two real Redis nodes as backends; the first keeps an ACL file, the second does not."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from credentials.engines import BackendAddress
from runtime.processes import Process, free_port
from runtime.redis import find_binary, wait_until_listening

ADMIN = "the-first-secret"  # the password of `lease_admin`, and of `default`


@dataclass
class Node:
    process: Process
    port: int
    acl_file: Path | None

    @property
    def address(self) -> dict[str, Any]:
        return {"host": "127.0.0.1", "port": self.port}

    def client(self, name: str = "default", password: str = ADMIN) -> Any:
        return redis.Redis(
            host="127.0.0.1", port=self.port, username=name, password=password, retry=None, decode_responses=True,
            single_connection_client=True, driver_info=None,
        )  # fmt: skip

    def restart(self) -> None:
        self.process.stop()
        self.process.start()
        wait_until_listening(self.process, self.port)


def start_node(folder: Path, *, with_file: bool) -> Node:
    folder.mkdir()
    port, acl_file = free_port(), folder / "users.acl"
    lines = [f"port {port}", "bind 127.0.0.1", 'save ""', f"dir {folder}"]
    users = f"user default on >{ADMIN} +@all ~* &*"
    if with_file:
        acl_file.write_text(users + "\n")
        lines.append(f"aclfile {acl_file}")
    else:
        lines.append(users)
    config = folder / "redis.conf"
    config.write_text("\n".join([*lines, ""]))
    process = Process("redis", [find_binary(), config], {}, log=folder / "log")
    process.start()
    wait_until_listening(process, port)
    return Node(process, port, acl_file if with_file else None)


@contextmanager
def started() -> Iterator[list[Node]]:
    folder = Path(tempfile.mkdtemp(prefix="countersign-nodes-"))
    nodes = [start_node(folder / "one", with_file=True), start_node(folder / "two", with_file=False)]
    try:
        for node in nodes:
            admin = node.client()
            admin.execute_command("ACL SETUSER", "lease_admin", "reset", f">{ADMIN}", "+ping", "+acl", "+client", "on")
            if node.acl_file:
                admin.execute_command("ACL SAVE")
            admin.close()
        yield nodes
    finally:
        for node in nodes:
            node.process.stop()
        shutil.rmtree(folder)


def target_of(nodes: list[Node]) -> BackendAddress:
    return BackendAddress({"nodes": [node.address for node in nodes], "user": "lease_admin"}, ADMIN)
