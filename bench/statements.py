"""How many statements one request costs: from PostgreSQL's own log, which this module turns on for the while."""

import asyncio
import re
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from load import Connection, Flow, Load

WARM_UP, COUNTED = 4, 9
REQUESTS = WARM_UP + COUNTED
_LINE = re.compile(r"^statement of (\d+) LOG:  (?:statement|execute)", re.MULTILINE)


def count(load: Load | Flow, port: int, database: "psycopg.Connection[Any]", log: Path, web: int) -> int:
    """The median of some requests, one after the other: BEGIN and COMMIT count. Raises WrongAnswer."""

    async def send_all() -> list[int]:
        connection = await Connection.open(port)
        counts = []
        for number in range(REQUESTS):
            before = log.stat().st_size
            if isinstance(load, Flow):
                await load.run(connection, number)
            else:
                await connection.expect(load.requests[number % len(load.requests)], load.status, load.marker)
            counts.append(len(_lines(log, before, _sessions(database, web))))
        connection.close()
        return counts[WARM_UP:]

    with _logged(database):
        return int(statistics.median(asyncio.run(send_all())))


@contextmanager
def _logged(database: "psycopg.Connection[Any]") -> Iterator[None]:
    """PostgreSQL writes each statement to its log."""
    settings = {"log_statement": "'all'", "log_line_prefix": "'statement of %p '"}
    try:
        for name, value in settings.items():
            database.execute(f"ALTER SYSTEM SET {name} = {value}")
        database.execute("SELECT pg_reload_conf()")
        yield
    finally:
        for name in settings:
            database.execute(f"ALTER SYSTEM RESET {name}")
        database.execute("SELECT pg_reload_conf()")


def _sessions(database: "psycopg.Connection[Any]", web: int) -> set[int]:
    """PostgreSQL's processes for the connections of the web process."""
    sockets = {str(file.readlink()) for file in Path(f"/proc/{web}/fd").iterdir() if file.is_symlink()}
    fields = [line.split() for line in Path(f"/proc/{web}/net/tcp").read_text().splitlines()[1:]]
    ports = [int(one[1].rpartition(":")[2], 16) for one in fields if f"socket:[{one[9]}]" in sockets]
    found = database.execute("SELECT pid FROM pg_stat_activity WHERE client_port = ANY(%s)", [ports])
    return {pid for (pid,) in found.fetchall()}


def _lines(log: Path, start: int, sessions: set[int]) -> list[str]:
    with log.open("rb") as file:
        file.seek(start)
        text = file.read().decode(errors="replace")
    return [pid for pid in _LINE.findall(text) if int(pid) in sessions]
