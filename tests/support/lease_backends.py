"""What the administrator of a system sees of our accounts there, and what a holder leaves there."""

from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from typing import Any

import psycopg
import pymysql
import redis
from psycopg import sql

from tests.support.systems import System


class LeaseBackend:
    """One system, and what a role there gives."""

    role: dict[str, Any]

    def __init__(self, system: System) -> None:
        self.system = system
        self.sessions: list[Any] = []

    def accounts(self, prefix: str) -> list[set[str]]:
        """Which there are: by node, and by place where a node keeps them."""
        raise NotImplementedError

    def leave_traces(self, name: str, password: str) -> None:
        """An open session on each node, and something made, where that belongs to who made it."""
        raise NotImplementedError

    def traces(self, prefix: str) -> list[set[str]]:
        """Of which accounts there are any: by node, and by kind."""
        raise NotImplementedError

    def lets_in(self, name: str, password: str) -> list[bool]:
        """By node."""
        raise NotImplementedError

    def ends_before(self, name: str, moment: datetime) -> bool:
        """The account by itself, where the system has such an expiry."""
        return False

    def close(self) -> None:
        for session in self.sessions:
            session.close()


class PostgresLeaseBackend(LeaseBackend):
    role = {"groups": ["orders_writer"]}

    def accounts(self, prefix: str) -> list[set[str]]:
        return [self._ask("SELECT rolname FROM pg_roles", prefix)]

    def leave_traces(self, name: str, password: str) -> None:
        server = self.system.extra["server"]
        for database in ("orders", "archive"):
            session = server.connect(name, password, database)
            self.sessions.append(session)
            session.execute(sql.SQL("CREATE TABLE public.{} (id int)").format(sql.Identifier(name)))

    def traces(self, prefix: str) -> list[set[str]]:
        tables = "SELECT relname FROM pg_class"
        found = [self._ask(tables, prefix, database) for database in ("orders", "archive")]
        return [*found, self._ask("SELECT usename FROM pg_stat_activity", prefix)]

    def lets_in(self, name: str, password: str) -> list[bool]:
        try:
            self.system.extra["server"].connect(name, password).close()
        except psycopg.OperationalError:
            return [False]
        return [True]

    def ends_before(self, name: str, moment: datetime) -> bool:
        query = "SELECT rolvaliduntil < %s FROM pg_roles WHERE rolname = %s"
        return bool(self.system.extra["server"].one(query, moment, name))

    def _ask(self, query: str, prefix: str, database: str = "postgres") -> set[str]:
        with self.system.extra["server"].superuser(database) as connection:
            return {name for (name,) in connection.execute(query) if name and name.startswith(prefix)}


class MariaDbLeaseBackend(LeaseBackend):
    """What an account made there belongs to nobody; sessions are all that it leaves."""

    role = {
        "grants": [
            {"privileges": ["SELECT"], "database": "shop_1", "table": "orders"},
            {"privileges": ["SELECT", "INSERT"], "database": "shop_1", "table": "people"},
        ]
    }

    def accounts(self, prefix: str) -> list[set[str]]:
        places = (
            "SELECT User FROM mysql.global_priv",
            "SELECT User FROM mysql.tables_priv WHERE Table_name = 'orders'",
            "SELECT User FROM mysql.tables_priv WHERE Table_name = 'people'",
        )
        return [self._ask(place, prefix) for place in places]

    def leave_traces(self, name: str, password: str) -> None:
        self.sessions.append(self.system.extra["server"].connect(name, password))

    def traces(self, prefix: str) -> list[set[str]]:
        return [self._ask("SELECT USER FROM information_schema.PROCESSLIST", prefix)]

    def lets_in(self, name: str, password: str) -> list[bool]:
        try:
            self.system.extra["server"].connect(name, password).close()
        except pymysql.OperationalError:
            return [False]
        return [True]

    def _ask(self, query: str, prefix: str) -> set[str]:
        return {str(name) for (name,) in self.system.extra["server"].rows(query) if str(name).startswith(prefix)}


class RedisLeaseBackend(LeaseBackend):
    """Each node for itself, and the file that one of them reads when it starts."""

    role = {"rules": ["~orders:*", "+@read"]}

    def accounts(self, prefix: str) -> list[set[str]]:
        files = [node.acl_file.read_text() for node in self.system.extra["nodes"] if node.acl_file]
        assert files
        stored = [{line.split()[1] for line in file.splitlines() if line} for file in files]
        found = self._ask(lambda client: client.acl_users())
        return [{name for name in names if name.startswith(prefix)} for names in found + stored]

    def leave_traces(self, name: str, password: str) -> None:
        for node in self.system.extra["nodes"]:
            self.sessions.append(node.client(name, password))
            self.sessions[-1].get("orders:1")

    def traces(self, prefix: str) -> list[set[str]]:
        found = self._ask(lambda client: [one["user"] for one in client.client_list()])
        return [{name for name in names if name.startswith(prefix)} for names in found]

    def lets_in(self, name: str, password: str) -> list[bool]:
        answers = []
        for node in self.system.extra["nodes"]:
            try:
                with closing(node.client(name, password)) as client:
                    client.get("orders:1")
            except redis.AuthenticationError:
                answers.append(False)
            else:
                answers.append(True)
        return answers

    def _ask(self, question: Callable[[Any], list[str]]) -> list[set[str]]:
        answers = []
        for node in self.system.extra["nodes"]:
            with closing(node.client()) as client:
                answers.append(set(question(client)))
        return answers
