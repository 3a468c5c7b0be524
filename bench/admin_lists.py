"""How fast is each list of the administration on a million rows, and which statement reads a whole table?

    python bench/admin_lists.py [rows]

Needs DATABASE_URL and DATABASE_OWNER_URL of a server whose owner may create databases. Creates a database of its own,
fills its users, requests, grants, leases and events with a million rows each (the events through their triggers), opens
the pages as an administrator, and drops it. The time is the best of three, from the request to the whole answer.
Fails where a page takes longer than 300 ms.
"""

import os
import sys
import time
from datetime import timedelta
from typing import Any

import psycopg
from audit_inserts import EVENT, own_database, run, say
from query_plans import BEGAN, CONTENT, PARTIES, REQUEST, application, explain

ROWS = 1_000_000
MAX_PAGE_MS = 300
TABLES = ("accounts_user", "clients_agent", "oauth_grant", "ciba_backchannelrequest", "credentials_lease")


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    with own_database() as url, application(url):
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
        with psycopg.connect(url, autocommit=True) as owner:
            fill(owner, rows)
        slow = measure()
    if slow:
        raise SystemExit("\n".join(slow))


def fill(owner: Any, rows: int) -> None:
    """One row of each table by the ORM, then as many copies as needed."""
    make_templates()
    copies = {
        "accounts_user": (
            rows,
            "'id', md5('u' || i)::uuid, 'email', 'user' || i || '@example.com', 'name', 'Person ' || i,"
            " 'is_active', i % 5000 > 0, 'is_staff', i % 50000 = 1",
        ),
        "clients_agent": (500, "'id', i + 1000, 'client_id', md5(i::text), 'name', 'Agent ' || i"),
        "oauth_grant": (
            rows,
            f"'id', md5('g' || i)::uuid, {PARTIES}, 'request_id', md5('r' || i)::uuid,"
            " 'created_at', timestamptz '2027-01-01' + i * (interval '730 days' / TOTAL)",
        ),
        "ciba_backchannelrequest": (rows, f"'id', md5('r' || i)::uuid, {PARTIES}, {REQUEST}"),
        "credentials_lease": (rows, f"'id', md5('l' || i)::uuid, {PARTIES}, {LEASE}"),
    }
    drop_foreign_keys(owner)
    for table, (count, changed) in copies.items():
        changed = changed.replace("TOTAL", str(count))
        copied = f"jsonb_populate_record(NULL::{table}, to_jsonb(t) || jsonb_build_object({changed}))"
        template = f"(SELECT * FROM {table} LIMIT 1) t, generate_series(0, {count - 1}) i"  # noqa: S608
        run(owner, f"INSERT INTO {table} SELECT copied.* FROM {template}, LATERAL {copied} AS copied")  # noqa: S608
    run(owner, EVENT.format(t="audit_event", first=1, last=rows, total=rows))
    for table in (*TABLES, "audit_event"):
        run(owner, f"VACUUM ANALYZE {table}")


def drop_foreign_keys(owner: Any) -> None:
    """A million checks of each take minutes, and no page reads by a constraint. The triggers of events stay."""
    keys = "SELECT conrelid::regclass::text, quote_ident(conname) FROM pg_constraint WHERE contype = 'f'"
    keys += " AND conrelid::regclass::text = ANY(%s)"
    for table, key in owner.execute(keys, [list(TABLES)]).fetchall():
        run(owner, f"ALTER TABLE {table} DROP CONSTRAINT {key}")


LEASE = """
 'created_at', timestamptz '2027-01-01' + i * (interval '730 days' / TOTAL), 'account_name', 'cs_' || i,
 'use_id', md5('s' || i)::uuid, 'grant_id', md5('g' || i)::uuid, 'state', CASE WHEN i % 2000 = 0 THEN 'stuck'
  WHEN i % 1000 = 0 THEN 'active' ELSE 'revoked' END
"""


def make_templates() -> None:
    from accounts.models import User
    from ciba.models import BackchannelRequest
    from clients.models import CIBA, Agent
    from credentials.models import Backend, Lease, Role
    from oauth.models import Grant
    from operations.models import OperationType, Resource

    user = User.objects.create(email="template@example.com")
    agent = Agent.objects.create(client_id="template", name="Template", grant_types=[CIBA])
    day = timedelta(days=1)
    grant = Grant.objects.create(
        agent=agent, user=user, operation_digest="x" * 43, created_at=BEGAN, expires_at=BEGAN + day
    )
    BackchannelRequest.objects.create(
        agent=agent, user=user, state="redeemed", auth_req_id_digest=b"x" * 32, scopes=["pay"], assurance="session",
        authorization_details=[{"type": "payment", "amount": "120.00", "currency": "EUR", "creditor": "Acme GmbH"}],
        operation_digest="x" * 43, grant_lifetime=600, content=CONTENT, wording_version=1, interval=5, created_at=BEGAN,
        expires_at=BEGAN, auth_req_id_expires_at=BEGAN,
    )  # fmt: skip
    backend = Backend.objects.create(name="orders", engine="postgres", settings={}, sealed_secret=b"x")
    resource = Resource.objects.create(identifier="https://orders.example.com/", name="Orders")
    meaning = OperationType.objects.create(resource=resource, name="credential:reader")
    role = Role.objects.create(backend=backend, name="reader", operation_type=meaning, settings={})
    Lease.objects.create(
        role=role, backend=backend, grant=grant, agent=agent, user=user, operation_digest="x" * 43, use_id=grant.pk,
        account_name="x", settings={}, state="revoked", created_at=BEGAN, lifetime=60, expires_at=BEGAN + day,
        max_expires_at=BEGAN + day, bound_by="requested", max_bound_by="grant",
    )  # fmt: skip


def pages() -> dict[str, tuple[str, dict[str, str]]]:
    """A name → the path and the query of a page."""
    from accounts.models import User
    from ciba.models import BackchannelRequest
    from clients.models import Agent

    events, requests = "/admin/audit/event/", "/admin/ciba/backchannelrequest/"
    leases, grants, users = "/admin/credentials/lease/", "/admin/oauth/grant/", "/admin/accounts/user/"
    agent, user = Agent.objects.get(name="Agent 7"), User.objects.get(email="user507@example.com")
    request = str(BackchannelRequest.objects.filter(agent=agent).latest("created_at").pk)
    found: dict[str, tuple[str, dict[str, str]]] = {}
    lists = {"events": events, "requests": requests, "leases": leases, "grants": grants, "users": users}
    for name, path in lists.items():
        found[f"{name}: list"] = (path, {})
        found[f"{name}: search an e-mail address"] = (path, {"q": user.email})
        found[f"{name}: search what nobody has"] = (path, {"q": "nothing of this name"})
    for name, path in list(lists.items())[:4]:
        found[f"{name}: search an agent's name"] = (path, {"q": str(agent.name)})
        found[f"{name}: search a beginning of many addresses"] = (path, {"q": "user"})
        found[f"{name}: agent and user"] = (path, {"agent": agent.client_id, "user": user.email})
        found[f"{name}: user"] = (path, {"user": user.email})
        found[f"{name}: one day"] = (path, {"from": "2027-05-03T00:00", "to": "2027-05-04T00:00"})
        found[f"{name}: a year, and an agent"] = (path, {"from": "2027-01-01T00:00", "agent": agent.client_id})
        found[f"{name}: search an id"] = (path, {"q": request})
    found["events: frequent kind"] = (events, {"kind": "token.issued"})
    found["events: rare kind"] = (events, {"kind": "recovery.ended"})
    found["events: frequent kind of an old day"] = (
        events, {"kind": "token.issued", "from": "2027-05-03T00:00", "to": "2027-05-04T00:00"},
    )  # fmt: skip
    for state in ("redeemed", "denied", "pending", "failed"):
        found[f"requests: {state}"] = (requests, {"state__exact": state})
    for state in ("revoked", "stuck", "disabled"):
        found[f"leases: {state}"] = (leases, {"state__exact": state})
    found["users: administrators"] = (users, {"is_staff__exact": "1"})
    found["users: disabled"] = (users, {"is_active__exact": "0"})
    found["users: search a name"] = (users, {"q": "Person 77"})
    return found


def measure() -> list[str]:
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    from accounts.models import User

    browser, slow = Client(), []
    by = User.objects.filter(email="admin@example.com").first()
    browser.force_login(by or User.objects.create(email="admin@example.com", is_staff=True, is_superuser=True))
    say("| page | ms | ms in the database | rows | indexes | reads all of |")
    say("|---|---|---|---|---|---|")
    wanted = os.environ.get("ONLY", "")
    for name, (path, query) in pages().items():
        if wanted not in name:
            continue
        times = []
        for _ in range(3):
            began = time.perf_counter()
            answer = browser.get(path, query)
            times.append((time.perf_counter() - began) * 1e3)
        count = len(answer.context["cl"].result_list) if answer.status_code == 200 else f"HTTP {answer.status_code}"
        with CaptureQueriesContext(connection) as captured:
            browser.get(path, query)
        large = [one["sql"] for one in captured.captured_queries if any(table in one["sql"] for table in ALL)]
        used, scanned, milliseconds = explain(connection, [one for one in large if one.startswith("SELECT")], ALL)
        read = f"{', '.join(used)} | {', '.join(scanned) or '-'}"
        say(f"| {name} | {min(times):.0f} | {milliseconds:.0f} | {count} | {read} |")
        if min(times) > MAX_PAGE_MS:
            slow.append(f"{name} takes {min(times):.0f} ms")
    return slow


ALL = (*TABLES, "audit_event")

if __name__ == "__main__":
    main()
