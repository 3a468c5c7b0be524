"""Which index does each query on events and requests use? (docs/adr/0017-the-audit-table.md)

    python bench/query_plans.py [events] [requests]

Needs DATABASE_URL and DATABASE_OWNER_URL of a server whose owner may create databases. Creates a database of its own,
migrates it, fills it with a million events and 200,000 requests, and drops it. Runs the product's own functions and
pages, and explains each of their statements on these tables. Fails where a statement reads a large table from its first
row to its last, and where no statement uses an index.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
from audit_inserts import EVENT, own_database, run, say
from product import ROOT, leave_database

TABLES = ("audit_event", "ciba_backchannelrequest", "ciba_prompt")
USERS, AGENTS = 20_000, 500
BEGAN, ENDED = datetime(2027, 1, 1, tzinfo=UTC), datetime(2028, 12, 31, tzinfo=UTC)  # of the times in EVENT
# The administration counts the rows of its lists, and searches inside names.
READS_ALL = {"events: list", "events: kind that is frequent", "events: family that is frequent", "requests: list"}
READS_ALL |= {"requests: one state", "requests: search an e-mail address"}
# Guards of what must not stand twice, which no query reads.
GUARDS = {"event_collapsed", "ciba_backchannelrequest_grant_id_key", "ciba_prompt_prompt_digest_key"}


def main() -> None:
    events, requests = (int(one) for one in [*sys.argv[1:], "1000000", "200000"][:2])
    with own_database() as url, application(url):
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
        with psycopg.connect(url, autocommit=True) as owner:
            fill(owner, events, requests)
            bad, used = explain_all()
            bad += find_unused(owner, used)
    if bad:
        raise SystemExit("\n".join(bad))


@contextmanager
def application(url: str) -> Iterator[None]:
    """The product in this process, on this database."""
    os.environ["DATABASE_OWNER_URL"] = url
    os.environ["DATABASE_URL"] = urlunsplit(urlsplit(os.environ["DATABASE_URL"])._replace(path=urlsplit(url).path))
    os.environ |= {"COUNTERSIGN_TESTING": "1", "LOG_LEVEL": "ERROR", "DJANGO_SETTINGS_MODULE": "authserver.settings"}
    os.environ.setdefault("DATA_DIR", "/tmp/countersign-bench")  # noqa: S108 - nothing is written there
    sys.path.insert(0, str(ROOT))
    import django

    django.setup()
    from django.test.utils import setup_test_environment, teardown_test_environment

    setup_test_environment()  # the test client may use any host name
    try:
        yield
    finally:
        teardown_test_environment()
        leave_database()


def fill(owner: Any, events: int, requests: int) -> None:
    """One row of each table by the ORM, then as many copies as needed, whose keys are those of the events."""
    from accounts.models import User
    from ciba.models import BackchannelRequest, Prompt
    from clients.models import CIBA, Agent
    from oauth.models import Grant

    user = User.objects.create(email="template@example.com")
    agent = Agent.objects.create(client_id="template", name="Template", grant_types=[CIBA])
    Grant.objects.create(
        agent=agent, user=user, operation_digest="x" * 43, created_at=BEGAN, expires_at=BEGAN + timedelta(days=1)
    )
    request = BackchannelRequest.objects.create(
        agent=agent, user=user, state="redeemed", auth_req_id_digest=b"x" * 32, scopes=["pay"], assurance="session",
        authorization_details=[{"type": "payment", "amount": "120.00", "currency": "EUR", "creditor": "Acme GmbH"}],
        operation_digest="x" * 43, grant_lifetime=600, content=CONTENT, wording_version=1, interval=5, created_at=BEGAN,
        expires_at=BEGAN, auth_req_id_expires_at=BEGAN,
    )  # fmt: skip
    Prompt.objects.create(
        request=request, approver=user, nonce=b"x" * 32, prompt_digest=b"x" * 32, answer="approved", answered_at=BEGAN
    )
    copies = {
        "accounts_user": (USERS, "'id', md5('u' || i)::uuid, 'email', 'user' || i || '@example.com'"),
        "clients_agent": (AGENTS, "'id', i + 1000, 'client_id', md5(i::text), 'name', 'Agent ' || i"),
        "oauth_grant": (
            requests, f"'id', md5('g' || i)::uuid, {PARTIES}, 'request_id', md5('r' || i)::uuid"
        ),
        "ciba_backchannelrequest": (requests, f"'id', md5('r' || i)::uuid, {PARTIES}, {REQUEST}"),
        "ciba_prompt": (
            requests,
            "'id', md5('p' || i)::uuid, 'request_id', md5('r' || i)::uuid,"
            " 'approver_id', md5('u' || (i % 20000))::uuid,"
            " 'prompt_digest', '\\x' || encode(sha256(i::text::bytea), 'hex'), 'answer',"
            " CASE WHEN i % 500 = 0 THEN '' ELSE 'approved' END",
        ),
    }  # fmt: skip
    for table, (count, changed) in copies.items():
        changed = changed.replace("TOTAL", str(count))
        copied = f"jsonb_populate_record(NULL::{table}, to_jsonb(t) || jsonb_build_object({changed}))"
        rows = f"(SELECT * FROM {table} LIMIT 1) t, generate_series(0, {count - 1}) i"  # noqa: S608
        run(owner, f"INSERT INTO {table} SELECT copied.* FROM {rows}, LATERAL {copied} AS copied")  # noqa: S608
        run(owner, f"ANALYZE {table}")  # or the next table's foreign keys are looked up without an index
    run(owner, EVENT.format(t="audit_event", first=1, last=events, total=events))
    for table in (*TABLES, "oauth_grant", "accounts_user", "clients_agent"):
        run(owner, f"VACUUM ANALYZE {table}")


CONTENT: dict[str, Any] = {"agent": "Agent", "resource": None, "operations": [], "access": []}
PARTIES = "'agent_id', i % 500 + 1000, 'user_id', md5('u' || (i % 20000))::uuid"
# One in 500 waits for an answer; one in 1000 was approved just now; the grant is there where it was approved.
REQUEST = """
 'created_at', timestamptz '2027-01-01' + i * (interval '730 days' / TOTAL),
 'expires_at', CASE WHEN i % 500 = 0 THEN timestamptz '2029-01-01' + interval '2 minutes'
  ELSE timestamptz '2027-01-01' + i * (interval '730 days' / TOTAL) + interval '10 minutes' END,
 'auth_req_id_digest', '\\x' || encode(sha256(i::text::bytea), 'hex'),
 'state', CASE WHEN i % 1000 = 0 THEN 'approved' WHEN i % 500 = 0 THEN 'pending' WHEN i % 7 = 0 THEN 'denied'
  ELSE 'redeemed' END,
 'grant_id', CASE WHEN i % 1000 = 0 OR (i % 500 > 0 AND i % 7 > 0) THEN md5('g' || i)::uuid END
"""


def scenarios() -> dict[str, Callable[[], Any]]:
    """A name → the product's own function or page."""
    from django.test import Client

    from accounts.models import User
    from audit import events
    from audit.record import About, record_alone
    from authserver import kill_switch
    from ciba import decisions, lifecycle, topics
    from ciba.callbacks import state as callbacks
    from ciba.lifecycle import endings
    from ciba.lifecycle.transitions import move_request
    from ciba.models import BackchannelRequest, count_pending, find_polled, find_prompt_to_answer, is_alive
    from ciba.states import State
    from clients.models import Agent
    from oauth.grants import grant_tree
    from oauth.models import Grant

    now = ENDED + timedelta(days=1)
    administrator = User.objects.create(email="admin@example.com", is_staff=True, is_superuser=True)
    request = (
        BackchannelRequest.objects.filter(state="approved")
        .select_related("agent", "user", "grant")
        .latest("created_at")
    )
    agent, user, grant = request.agent, request.user, Grant.objects.get(pk=request.grant_id)
    prompt_id = request.prompts.get().pk

    def page(path: str, **query: str) -> Callable[[], Any]:
        def get() -> None:
            browser = Client()
            browser.force_login(user if path == "/activity" else administrator)
            answer = browser.get(path, query)
            if answer.status_code != 200:
                raise SystemExit(f"{path} {query}: {answer.status_code}")

        return get

    event_list, request_list = "/admin/audit/event/", "/admin/ciba/backchannelrequest/"
    return {
        "events: list": page(event_list),
        "events: kind that is frequent": page(event_list, kind="token.issued"),
        "events: kind that is rare": page(event_list, kind="recovery.ended"),
        "events: family that is frequent": page(event_list, family="token"),
        "events: family that is rare": page(event_list, family="recovery"),
        "events: one agent": page(event_list, client_id=agent.client_id),
        "events: one user": page(event_list, user_id=str(user.pk)),
        "events: one day": page(event_list, at__year="2027", at__month="5", at__day="3"),
        "events: since yesterday": page(event_list, at__gte="2028-12-30T00:00:00+00:00"),
        "events: search an e-mail address": page(event_list, q=user.email),
        "events: search an agent's name": page(event_list, q=str(agent.name)),
        "events: search an id": page(event_list, q=str(request.pk)),
        "events: one event": page(f"{event_list}77/change/"),
        "events: /activity": page("/activity"),
        "events: /activity, older": page("/activity", before="5000"),
        "events: a grant's access tokens": lambda: grant_tree.tree_of(grant, now),
        "events: an agent's last token": lambda: grant_tree.last_token_ends_at(agent.client_id, now),
        "events: a refusal, twice": lambda: [
            record_alone(events.TOKEN_REFUSED, About("system"), now, error="x") for _ in range(2)
        ],
        "requests: list": page(request_list),
        "requests: one state": page(request_list, state="denied"),
        "requests: a state that is rare": page(request_list, state__exact="failed"),
        "requests: one agent": page(request_list, agent__id__exact=str(agent.pk)),
        "requests: one day": page(request_list, created_at__year="2027", created_at__month="5", created_at__day="3"),
        "requests: search an e-mail address": page(request_list, q=user.email),
        "requests: one request": page(f"{request_list}{request.pk}/change/"),
        "requests: poll": lambda: find_polled(bytes(request.auth_req_id_digest)),
        "requests: alive": lambda: is_alive(request),
        "requests: a user's inbox": lambda: list(decisions.waiting_prompts(user, now)),
        "requests: a user's stream": lambda: topics.read_prompts([str(user.pk)]),
        "requests: an agent's long poll": lambda: topics.read_requests([str(request.pk)]),
        "requests: pending of agent and user": lambda: count_pending(agent, user.pk, now),
        "requests: redeem": lambda: rolled_back(lambda: move_request(request, State.REDEEMED, BEGAN)),
        "requests: expire those due": lambda: lifecycle.expire_due(now, 100),
        "requests: erase late callbacks": lambda: callbacks.erase_late(now, 100),
        "requests: stop an agent for a user": lambda: rolled_back(
            lambda: endings._withdraw_open(BackchannelRequest.objects.filter(agent=agent, user=user), "system", now)
        ),
        "requests: stop an agent": lambda: rolled_back(
            lambda: lifecycle.end_requests_of(Agent.objects.get(pk=agent.pk), "system", "bench", now)
        ),
        "requests: what is left of an agent": lambda: kill_switch.find_remainder(agent, now),
        "requests: a user's prompt": lambda: decisions.find_prompt(user, request.prompts.get().pk),
        "requests: an answer": lambda: find_prompt_to_answer(prompt_id),
    }


def rolled_back(act: Callable[[], Any]) -> None:
    from django.db import transaction

    with transaction.atomic():
        act()
        transaction.set_rollback(True)


def explain_all() -> tuple[list[str], set[str]]:
    """Prints which indexes each scenario uses. Returns what reads a large table completely, and the indexes."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    bad, all_used = [], set()
    say("| scenario | statements | ms | indexes | reads all of |")
    say("|---|---|---|---|---|")
    for name, act in scenarios().items():
        with CaptureQueriesContext(connection) as captured:
            act()
        statements = [one["sql"] for one in captured.captured_queries if any(table in one["sql"] for table in TABLES)]
        statements = [one for one in statements if one.startswith(("SELECT", "UPDATE"))]
        used, scanned, milliseconds = explain(connection, statements)
        say(f"| {name} | {len(statements)} | {milliseconds:.1f} | {', '.join(used)} | {', '.join(scanned) or '-'} |")
        all_used.update(used)
        if scanned and name not in READS_ALL:
            bad.append(f"{name}: reads all of {', '.join(scanned)}")
    return bad, all_used


def explain(
    connection: Any, statements: list[str], tables: tuple[str, ...] = TABLES
) -> tuple[list[str], list[str], float]:
    used: dict[str, None] = {}
    scanned: dict[str, None] = {}
    milliseconds = 0.0
    for statement in statements:
        with connection.cursor() as cursor:
            verb = "ANALYZE, " if statement.startswith("SELECT") else ""
            cursor.execute(f"EXPLAIN ({verb}FORMAT JSON) {statement}".replace("%", "%%"), [])
            plan = cursor.fetchone()[0]
        plan = json.loads(plan) if isinstance(plan, str) else plan
        milliseconds += plan[0].get("Execution Time", 0.0)
        for node in nodes_of(plan[0]["Plan"]):
            if node["Node Type"] == "Seq Scan" and node["Relation Name"] in tables:
                scanned[node["Relation Name"]] = None
            if index := node.get("Index Name"):
                used[index] = None
    others = tuple(one for one in ("accounts_", "clients_", "oauth_") if not any(t.startswith(one) for t in tables))
    return [index for index in used if not index.startswith(others)], list(scanned), milliseconds


def nodes_of(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for part in plan.get("Plans", []) for node in nodes_of(part))]


def find_unused(owner: Any, used: set[str]) -> list[str]:
    rows = owner.execute(
        "SELECT relname, indexrelname, pg_relation_size(indexrelid) / 1e6 FROM pg_stat_user_indexes"
        " WHERE relname = ANY(%s) ORDER BY relname, indexrelname",
        [list(TABLES)],
    ).fetchall()
    say("\n| table | index | MB |\n|---|---|---|")
    for table, index, size in rows:
        say(f"| {table} | {index} | {size:.1f} |")
    return [f"nothing reads {index}" for _, index, _ in rows if index not in used | GUARDS]


if __name__ == "__main__":
    main()
