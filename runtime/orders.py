"""The demo's backend: a database of sample orders on the embedded PostgreSQL, with an administrator account for leases.

Every start of the demo creates the parts that are missing. It writes the URL and a fresh secret to
DATA_DIR/demo/backend.json, which `manage.py seed_demo` reads.
"""

import json
import secrets
from pathlib import Path

import psycopg
from psycopg import sql

from runtime.postgres import EmbeddedPostgres
from runtime.processes import write_private

DATABASE = "demo_orders"
OWNER = "demo_orders_owner"
READER = "demo_orders_reader"
ADMINISTRATOR = "demo_orders_admin"
ORDERS = [
    ("2026-11-20", "Acme Office Supplies", "paper", "48.00"),
    ("2026-11-21", "Northwind Traders", "tea", "12.50"),
    ("2026-11-23", "Acme Office Supplies", "ink", "119.90"),
    ("2026-11-24", "Globex", "chairs", "640.00"),
]


def make(embedded: EmbeddedPostgres, data_dir: Path) -> None:
    """Creates the missing parts. Idempotent, because an interrupted start may have created some of them."""
    secret = secrets.token_urlsafe(32)
    with psycopg.connect(embedded.url("postgres", "postgres"), autocommit=True) as connection:
        _make_roles(connection, secret)
        found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
        if not found:
            statement = sql.SQL("CREATE DATABASE {} OWNER {}")
            connection.execute(statement.format(sql.Identifier(DATABASE), sql.Identifier(OWNER)))
        # By default every account may connect to a new database and to PostgreSQL's own. A leased
        # account may connect only to this one.
        for database in (DATABASE, "postgres", "template1"):
            statement = sql.SQL("REVOKE CONNECT, TEMPORARY ON DATABASE {} FROM PUBLIC")
            connection.execute(statement.format(sql.Identifier(database)))
        statement = sql.SQL("GRANT CONNECT ON DATABASE {} TO {}, {}")
        connection.execute(statement.format(*map(sql.Identifier, (DATABASE, READER, ADMINISTRATOR))))
    with psycopg.connect(embedded.url("postgres", DATABASE), autocommit=True) as connection:
        _make_orders(connection)
    folder = data_dir / "demo"
    folder.mkdir(mode=0o700, exist_ok=True)
    settings = {
        "host": "127.0.0.1", "port": embedded.port, "database": DATABASE, "user": ADMINISTRATOR, "sslmode": "disable",
    }  # fmt: skip
    write_private(folder / "backend.json", json.dumps({"settings": settings, "secret": secret}))


def _make_roles(connection: psycopg.Connection, secret: str) -> None:
    """The administrator that docs/guides/credentials.md requires: CREATEROLE, and ADMIN on the groups."""
    known = {name for (name,) in connection.execute("SELECT rolname FROM pg_roles").fetchall()}
    for name, rights in ((OWNER, "NOLOGIN"), (READER, "NOLOGIN"), (ADMINISTRATOR, "LOGIN CREATEROLE")):
        if name not in known:
            connection.execute(sql.SQL("CREATE ROLE {} " + rights).format(sql.Identifier(name)))
    verifier = connection.pgconn.encrypt_password(secret.encode(), ADMINISTRATOR.encode(), b"scram-sha-256").decode()
    connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(ADMINISTRATOR), verifier))
    group = sql.SQL("GRANT {} TO {} WITH ADMIN OPTION")
    connection.execute(group.format(sql.Identifier(READER), sql.Identifier(ADMINISTRATOR)))


def _make_orders(connection: psycopg.Connection) -> None:
    with connection.transaction():
        if connection.execute("SELECT to_regclass('public.orders')").fetchone() != (None,):
            return
        connection.execute("CREATE TABLE public.orders (day date, customer text, item text, total numeric(10, 2))")
        with connection.cursor() as cursor:
            cursor.executemany("INSERT INTO public.orders VALUES (%s, %s, %s, %s)", ORDERS)
        for statement in ("ALTER TABLE public.orders OWNER TO {0}", "GRANT SELECT ON public.orders TO {1}"):
            connection.execute(sql.SQL(statement).format(sql.Identifier(OWNER), sql.Identifier(READER)))
