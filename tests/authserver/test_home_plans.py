"""The first page of the administration on large tables: no statement reads more of one than it shows."""

import os
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from psycopg import sql

from accounts.models import User
from authserver.home.figures import MAX_COUNTED
from tests.properties.administration import make_rows
from tests.support.world import Caller

ROWS = int(os.environ.get("COUNTERSIGN_HOME_ROWS", "20000"))  # of each table
# Table → what differs from the row that is copied. Everything happened today; a few rows need somebody.
COPIES = {
    "clients_agent": """
        'id', nextval(pg_get_serial_sequence('clients_agent', 'id')), 'client_id', md5(i::text),
        'name', 'Agent ' || i""",
    "ciba_backchannelrequest": """
        'id', md5('r' || i)::uuid, 'auth_req_id_digest', '\\x' || encode(sha256(i::text::bytea), 'hex'),
        'state', CASE i % 200 WHEN 0 THEN 'pending' ELSE 'expired' END, 'created_at', now() - interval '2 minutes'""",
    "credentials_lease": """
        'id', md5('l' || i)::uuid, 'account_name', 'a' || i, 'use_id', md5('u' || i)::uuid,
        'state', CASE i % 200 WHEN 0 THEN 'stuck' WHEN 1 THEN 'revoking' ELSE 'revoked' END,
        'ended_at', now() - interval '1 hour'""",
    "foundation_work": """
        'id', md5('w' || i)::uuid, 'kind', 'callback', 'finished_at', now() - interval '1 hour',
        'state', CASE i % 200 WHEN 0 THEN 'abandoned' ELSE 'done' END""",
    "audit_event": """
        'id', nextval(pg_get_serial_sequence('audit_event', 'id')), 'collapse_digest', NULL,
        'at', date_trunc('day', now()) + i * ((now() - date_trunc('day', now())) / TOTAL),
        'kind', (ARRAY['request.opened', 'request.denied', 'token.issued', 'use.spent', 'lease.issued'])[1 + i % 5]""",
}
INSERT = """
INSERT INTO {table} SELECT copied.* FROM (SELECT * FROM {table} LIMIT 1) t, generate_series(1, {rows}) i,
LATERAL jsonb_populate_record(NULL::{table}, to_jsonb(t) || jsonb_build_object({changed})) AS copied
"""


def fill() -> None:
    """As the owner, which alone may ANALYZE."""
    with psycopg.connect(os.environ["DATABASE_OWNER_URL"], autocommit=True) as owner:
        for name, changed in COPIES.items():
            table, values = sql.Identifier(name), sql.SQL(changed.replace("TOTAL", str(ROWS)))  # type: ignore[arg-type]
            owner.execute(sql.SQL(INSERT).format(table=table, rows=sql.Literal(ROWS), changed=values))
            owner.execute(sql.SQL("VACUUM ANALYZE {}").format(table))


def reads(node: dict[str, Any]) -> Iterator[tuple[str, str, float]]:
    """Of each scan of a plan: the table, the way, and how many rows or entries it reads each time."""
    if "Scan" in node["Node Type"] and node.get("Relation Name") in COPIES:
        removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
        yield node["Relation Name"], node["Node Type"], node["Actual Rows"] + removed
    for part in node.get("Plans", []):
        yield from reads(part)


@pytest.mark.django_db(transaction=True)
def test_no_statement_reads_more_than_it_shows(agent: Caller, user: User, administrator: User) -> None:
    make_rows(agent, user, administrator)
    fill()
    browser = Client()
    browser.force_login(administrator)
    with CaptureQueriesContext(connection) as queries:
        text = browser.get("/admin/").content.decode()
    for sentence in ("leases have ended", "leases are stuck", "callbacks did not reach", "requests have waited"):
        assert sentence in text
    found, slowest = [], 0.0
    for query in queries:
        if query["sql"].lstrip().startswith(("SELECT", "WITH")):
            with connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {query['sql']}")
                (plan,) = cursor.fetchone()[0]
            found += [(query["sql"], *one) for one in reads(plan["Plan"])]
            slowest = max(slowest, plan["Execution Time"])
    assert {table for _, table, _, _ in found} == set(COPIES), "each large table is read"
    assert [one for one in found if one[-1] > MAX_COUNTED + 1] == []
    assert slowest < 1000, f"{slowest} ms"
