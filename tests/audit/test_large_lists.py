"""The administration's large lists: pages by key, searches and filters that combine, and exports."""

import csv
import io
import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.db import connection, models, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from audit import events, exports
from audit.exports import FORMULA_BEGINNINGS, ExportingList, cell_of
from audit.models import Event
from audit.record import About, record
from ciba.models import BackchannelRequest
from credentials.models import Lease
from foundation import keyset, parties
from foundation.sealed_columns import SealedField
from oauth.models import Grant
from tests.support.world import Caller, make_caller, make_user, sign_in

pytestmark = pytest.mark.django_db
EVENTS, REQUESTS, GRANTS = "/admin/audit/event/", "/admin/ciba/backchannelrequest/", "/admin/oauth/grant/"
USERS, LEASES = "/admin/accounts/user/", "/admin/credentials/lease/"
AT = datetime(2031, 5, 3, 12, 0, tzinfo=UTC)


@pytest.fixture
def browser(administrator: User) -> Client:
    return sign_in(administrator)


def page(browser: Client, path: str, query: Any = ()) -> Any:
    answer = browser.get(path, query)
    assert answer.status_code == 200, (answer.status_code, answer.headers)
    return answer.context["cl"]


def listed(browser: Client, path: str, **query: str) -> list[Any]:
    return [row.pk for row in page(browser, path, query).result_list]


def make_requests(agent: Any, user: User, count: int, at: datetime = AT, **fields: Any) -> list[BackchannelRequest]:
    """Requests of which every ten were made at the same time."""
    return BackchannelRequest.objects.bulk_create(
        BackchannelRequest(
            agent=agent, user=user, state=fields.get("state", "denied"), auth_req_id_digest=uuid.uuid4().bytes * 2,
            scopes=["openid"], operation_digest="x", assurance="session", grant_lifetime=60, content={
                "agent": "A", "resource": None, "operations": [], "access": []}, wording_version=1, interval=5,
            created_at=at - timedelta(seconds=number // 10), expires_at=at, auth_req_id_expires_at=at,
            binding_message=fields.get("binding_message", ""),
        )
        for number in range(count)
    )  # fmt: skip


def make_events(count: int, at: datetime = AT, kind: Any = events.USER_SIGNED_IN, **about: Any) -> None:
    with transaction.atomic():
        for number in range(count):
            record(kind, About("system", **about), at - timedelta(seconds=number // 10), number=number)


def walk(browser: Client, path: str, link: str, query: Any = (), meanwhile: Any = lambda: None) -> list[list[Any]]:
    """The keys of each page, from link to link."""
    pages = []
    while True:
        cl = page(browser, path, dict(query))
        pages.append([row.pk for row in cl.result_list])
        if not (following := getattr(cl, link)):
            return pages
        query = parse_qsl(following.removeprefix("?"))
        meanwhile()


class TestPages:
    def test_a_walk_meets_each_row_once_although_rows_are_inserted(
        self, browser: Client, agent: Caller, user: User
    ) -> None:
        there = {one.pk for one in make_requests(agent.agent, user, 520)}

        def insert() -> None:
            make_requests(agent.agent, user, 7, AT + timedelta(minutes=1))
            make_requests(agent.agent, user, 1, AT)  # a tie with the first ten rows

        pages = walk(browser, REQUESTS, "next_link", meanwhile=insert)
        met = [pk for one in pages for pk in one]
        assert len(pages) == 11 and len(met) == len(set(met))
        assert there <= set(met)

    def test_a_walk_over_events_is_in_the_order_of_ids_and_of_times(self, browser: Client) -> None:
        make_events(520)
        ids = list(Event.objects.order_by("-id").values_list("pk", flat=True))
        assert [pk for one in walk(browser, EVENTS, "next_link") for pk in one] == ids
        in_time = list(
            Event.objects.filter(at__gte=AT - timedelta(days=1)).order_by("-at", "-id").values_list("pk", flat=True)
        )
        limited = {"from": "2031-05-02T12:00"}
        assert [pk for one in walk(browser, EVENTS, "next_link", limited) for pk in one] == in_time

    def test_back_to_the_first_page(self, browser: Client, agent: Caller, user: User) -> None:
        make_requests(agent.agent, user, 173)
        forward = walk(browser, REQUESTS, "next_link")
        assert [len(one) for one in forward] == [50, 50, 50, 23]
        query = {}
        for _ in range(3):
            query = dict(parse_qsl(page(browser, REQUESTS, query).next_link.removeprefix("?")))
        assert walk(browser, REQUESTS, "previous_link", query) == forward[::-1]

    def test_users_are_in_the_order_of_their_addresses(self, browser: Client) -> None:
        User.objects.bulk_create(User(email=f"u{number:03}@example.com") for number in range(120))
        everybody = list(User.objects.order_by("email").values_list("pk", flat=True))
        assert [pk for one in walk(browser, USERS, "next_link") for pk in one] == everybody

    @pytest.mark.parametrize(("count", "words"), [(1, "1 event"), (51, "51 events"), (1001, "More than 1,000 events")])
    def test_the_count_ends_at_a_thousand(self, browser: Client, count: int, words: str) -> None:
        make_events(count, client_id="counted")
        cl = page(browser, EVENTS, {"client_id": "counted"})
        assert cl.count_in_words == words
        assert cl.result_count == min(count, 50) if count > 1000 else cl.result_count == count

    @pytest.mark.parametrize("path", [EVENTS, REQUESTS, GRANTS, LEASES, USERS])
    def test_no_statement_counts_or_skips_all_rows(self, browser: Client, path: str, agent: Caller, user: User) -> None:
        make_requests(agent.agent, user, 60)
        make_events(60)
        with CaptureQueriesContext(connection) as captured:
            page(browser, path)
        for one in captured.captured_queries:
            assert "OFFSET" not in one["sql"] and "DISTINCT" not in one["sql"]
            assert "COUNT(" not in one["sql"] or f"LIMIT {keyset.MAX_COUNTED + 1}" in one["sql"], one["sql"]

    @pytest.mark.parametrize("name", ["after", "before"])
    @pytest.mark.parametrize(
        "key", ["x", "%00", "W10", "W1tdXQ", "MTI", "bnVsbA", "[" * 3000, keyset.encode_key(["9" * 4000]),
                keyset.encode_key(["\x00", "\x00"]), keyset.encode_key(["0001-01-01T00:00:00+23:59", "x"]),
                keyset.encode_key(["9999-12-31T23:59:59-23:59", "7d4f4f0e-0f0d-4a55-9f0b-0a2f6b8c1d2e"]),
                keyset.encode_key(["2031-01-01T00:00:00", "7d4f4f0e-0f0d-4a55-9f0b-0a2f6b8c1d2e"]),
                keyset.encode_key(["a", "b", "c"])],
    )  # fmt: skip
    @pytest.mark.parametrize("path", [EVENTS, REQUESTS, USERS])
    def test_a_key_that_we_did_not_make_is_no_error(self, browser: Client, path: str, name: str, key: str) -> None:
        assert browser.get(path, {name: key}, follow=True).status_code == 200


class TestFilters:
    @pytest.fixture
    def made(self, agent: Caller, other_agent: Caller, user: User, stranger: User) -> dict[str, list[Any]]:
        return {
            f"{caller.agent.name} {whom.email}": [one.pk for one in make_requests(caller.agent, whom, 2, at)]
            for caller in (agent, other_agent)
            for whom, at in ((user, AT), (stranger, AT - timedelta(days=30)))
        }

    def test_agent_and_user_combine(self, browser: Client, made: dict[str, list[Any]]) -> None:
        assert sorted(listed(browser, REQUESTS, agent="assist", user="person@")) == sorted(
            made["Assistant person@example.com"]
        )
        assert len(listed(browser, REQUESTS, agent="Assistant")) == 4
        assert len(listed(browser, REQUESTS, user="stranger@example.com", state__exact="denied")) == 4
        assert listed(browser, REQUESTS, user="stranger@example.com", state__exact="pending") == []
        assert listed(browser, REQUESTS, agent="nobody") == []

    def test_agent_user_kind_and_time_combine_on_events(self, browser: Client, agent: Caller, user: User) -> None:
        about = {"client_id": agent.agent.client_id, "user_id": user.pk}
        make_events(1, **about)
        make_events(1, AT - timedelta(days=2), **about)
        make_events(1, kind=events.GRANT_REVOKED, **about)
        make_events(1, user_id=user.pk)
        make_events(1, client_id=agent.agent.client_id)
        query = {"agent": "Assistant", "user": "person@example.com"}
        assert len(listed(browser, EVENTS, **query)) == 3
        assert len(listed(browser, EVENTS, **query, kind="user.signed_in")) == 2
        day = {"from": "2031-05-03", "to": "2031-05-04"}
        assert len(listed(browser, EVENTS, **query, **day, kind="user.signed_in")) == 1
        assert len(listed(browser, EVENTS, **query, **day, kind="user.signed_in", q=str(user.pk))) == 1

    @pytest.mark.parametrize(("within", "count"), [("hour", 1), ("day", 2), ("week", 3)])
    def test_periods(self, browser: Client, within: str, count: int) -> None:
        now = timezone.now()
        for hours in (0.9, 23, 24 * 6, 24 * 8):
            make_events(1, now - timedelta(hours=hours), client_id="timed")
        assert len(listed(browser, EVENTS, within=within, client_id="timed")) == count

    def test_to_is_exclusive_and_in_utc(self, browser: Client) -> None:
        make_events(1, client_id="timed")
        assert len(listed(browser, EVENTS, **{"from": "2031-05-03T12:00", "client_id": "timed"})) == 1
        assert listed(browser, EVENTS, **{"to": "2031-05-03T12:00", "client_id": "timed"}) == []
        assert len(listed(browser, EVENTS, **{"to": "2031-05-03T12:01", "client_id": "timed"})) == 1

    @pytest.mark.parametrize("path", [EVENTS, REQUESTS, GRANTS, LEASES])
    @pytest.mark.parametrize(
        "query", [{"within": "x"}, {"from": "x"}, {"to": "2031-02-30T00:00"}, {"from": "0001-01-01T00:00+23:00"},
                  {"agent": "\u202e"}, {"user": "\x01"}, {"user": "x" * 5000}, {"q": "a\x01b"}, {"o": "-1.x.2"},
                  {"_facets": "1"}, {"all": ""}, {"p": "99999999"}],
    )  # fmt: skip
    def test_junk_is_no_error(self, browser: Client, path: str, query: dict[str, str]) -> None:
        assert browser.get(path, query, follow=True).status_code == 200

    def test_the_page_shows_each_filter_with_a_link_that_removes_it_alone(
        self, browser: Client, made: dict[str, list[Any]]
    ) -> None:
        query = {
            "agent": "Assistant",
            "user": "person",
            "state__exact": "denied",
            "from": "2031-05-03T00:00",
            "q": "pers",
        }
        cl = page(browser, REQUESTS, query)
        texts = {one["title"]: one["text"] for one in cl.active_filters()}
        assert texts == {
            "agent": "Assistant", "user": "person", "state": "denied", "time": "from 2031-05-03 00:00 UTC",
            "search": "pers",
        }  # fmt: skip
        for one, name in zip(cl.active_filters(), ("from", "agent", "user", "state__exact", "q"), strict=True):
            assert dict(parse_qsl(one["remove"].removeprefix("?"))) == {k: v for k, v in query.items() if k != name}
        text = browser.get(REQUESTS, query).content.decode()
        assert 'aria-label="Remove the filter agent"' in text

    def test_filters_are_text_on_the_page(self, browser: Client) -> None:
        hostile = '"><script>alert(1)</script>'
        text = browser.get(EVENTS, {"agent": hostile, "q": hostile, "client_id": hostile}).content.decode()
        assert "<script>alert" not in text

    def test_a_search_for_a_beginning_stops_at_ten_and_says_so(self, browser: Client, agent: Caller) -> None:
        users = User.objects.bulk_create(User(email=f"u{number:03}@example.com") for number in range(11))
        made = [make_requests(agent.agent, one, 1)[0].pk for one in users]
        answer = browser.get(REQUESTS, {"q": "u0"})
        assert {row.pk for row in answer.context["cl"].result_list} == set(made[: parties.MAX_FOUND])
        assert "More than 10 agents or users match" in answer.content.decode()

    @pytest.mark.parametrize("query", [{"q": "u0"}, {"user": "u0"}])
    def test_what_leaves_rows_out_is_said_and_not_exported(
        self, browser: Client, agent: Caller, query: dict[str, str]
    ) -> None:
        users = User.objects.bulk_create(User(email=f"u{number:03}@example.com") for number in range(11))
        for one in users:
            make_requests(agent.agent, one, 1)
        answer = browser.get(f"{REQUESTS}export/csv/", query, follow=True)
        assert answer.redirect_chain[0][0] == f"{REQUESTS}?{urlencode(query)}"
        assert "More than 10 agents or users match" in answer.content.decode()
        assert not Event.objects.filter(kind="export.created").exists()

    def test_an_exact_name_of_an_agent_that_others_begin_with(self, browser: Client, agent: Caller, user: User) -> None:
        longer = make_caller("Assistant of somebody")
        make_requests(agent.agent, user, 1)
        make_requests(longer.agent, user, 1)
        assert len(listed(browser, REQUESTS, agent="Assistant")) == 2
        assert len(listed(browser, REQUESTS, agent=agent.agent.client_id)) == 1

    def test_users_by_the_beginning_of_a_name_or_a_phone_number(self, browser: Client) -> None:
        one = make_user("z@example.com", "Zoe Zimmer", phone="+4915112345678")
        assert listed(browser, USERS, q="zoe z") == listed(browser, USERS, q=one.phone or "") == [one.pk]
        assert listed(browser, USERS, q="immer") == []
        alike = User.objects.bulk_create(User(email=f"n{number}@example.com", name="Nia Next") for number in range(3))
        assert set(listed(browser, USERS, q="nia")) == {one.pk for one in alike}
        assert listed(browser, USERS, q=str(one.pk)) == [one.pk]


def exported(browser: Client, path: str, form: str, **query: str) -> tuple[Any, str]:
    answer = browser.get(f"{path}export/{form}/", query)
    assert answer.status_code == 200, answer.status_code
    return answer, b"".join(answer.streaming_content).decode()  # type: ignore[arg-type]


class TestExport:
    def test_csv_and_json_hold_what_is_shown(self, browser: Client, agent: Caller, user: User, stranger: User) -> None:
        mine = [str(one.pk) for one in make_requests(agent.agent, user, 60)]
        make_requests(agent.agent, stranger, 3)
        answer, text = exported(browser, REQUESTS, "csv", user=user.email)
        rows = list(csv.DictReader(io.StringIO(text)))
        assert {row["id"] for row in rows} == set(mine) and len(rows) == 60
        assert rows[0]["created_at"] == "2031-05-03T12:00:00.000000Z" and rows[0]["email"] == user.email
        assert answer["Content-Disposition"].startswith("attachment; filename=")
        assert "no-store" in answer["Cache-Control"]
        answer, text = exported(browser, REQUESTS, "json", user=user.email)
        objects = json.loads(text)
        assert [one["id"] for one in objects] == [row["id"] for row in rows]
        assert objects[0]["scopes"] == ["openid"] and objects[0]["decided_at"] is None
        assert json.loads(exported(browser, REQUESTS, "json", user="nobody")[1]) == []

    def test_chunks_meet_each_row_once(self, browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(keyset, "CHUNK", 7)
        make_events(100, client_id="chunked")
        rows = json.loads(exported(browser, EVENTS, "json", client_id="chunked")[1])
        assert [row["id"] for row in rows] == list(
            Event.objects.filter(client_id="chunked").order_by("-id").values_list("pk", flat=True)
        )

    def test_it_ends_at_the_limit_and_the_event_tells_the_number(
        self, browser: Client, administrator: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(exports, "MAX_EXPORTED", 5)
        monkeypatch.setattr(keyset, "CHUNK", 2)
        make_events(9, client_id="many")
        assert len(json.loads(exported(browser, EVENTS, "json", client_id="many", q="many")[1])) == 5
        event = Event.objects.get(kind="export.created")
        assert event.actor == f"user:{administrator.pk}"
        assert json.loads(event.body)["facts"] == {
            "list": "audit.event", "format": "json", "rows": 5, "selected": False,
            "filters": {"client_id": "many", "q": "many"},
        }  # fmt: skip

    def test_no_event_no_row(self, browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: Any, **__: Any) -> None:
            raise RuntimeError("no event")

        monkeypatch.setattr(exports, "record_alone", refuse)
        with pytest.raises(RuntimeError):
            browser.get(f"{EVENTS}export/csv/")

    def test_the_action_exports_the_selected_rows(self, browser: Client) -> None:
        make_events(3, client_id="three")
        chosen = Event.objects.filter(client_id="three").latest("id")
        form = {"action": "export_json", "index": "0", "_selected_action": str(chosen.pk)}
        answer = browser.post(f"{EVENTS}?client_id=three", form)
        rows = json.loads(b"".join(answer.streaming_content))  # type: ignore[arg-type]
        assert [row["id"] for row in rows] == [chosen.pk]
        assert json.loads(Event.objects.get(kind="export.created").body)["facts"]["selected"] is True

    @pytest.mark.parametrize("path", [EVENTS, REQUESTS, GRANTS, LEASES, USERS])
    @pytest.mark.parametrize("form", ["csv", "json"])
    def test_only_who_may_view_the_list_exports_it(self, path: str, form: str) -> None:
        clerk = make_user("clerk@example.com", is_staff=True)
        browser = sign_in(clerk)
        assert browser.get(f"{path}export/{form}/").status_code == 403
        assert not Event.objects.filter(kind="export.created").exists()
        clerk.user_permissions.add(Permission.objects.get(codename=f"view_{path.split('/')[3]}"))
        exported(browser, path, form)
        assert Client().get(f"{path}export/{form}/").status_code == 302

    @pytest.mark.parametrize("form", ["xml", "csv/x", "CSV"])
    def test_another_format_is_not_found(self, browser: Client, form: str) -> None:
        assert browser.get(f"{EVENTS}export/{form}/", follow=True).status_code in (404, 200)
        assert not Event.objects.filter(kind="export.created").exists()

    def test_post_and_junk_filters_export_nothing(self, browser: Client) -> None:
        assert browser.post(f"{EVENTS}export/csv/").status_code == 404
        assert browser.get(f"{EVENTS}export/csv/", {"from": "x"}).status_code == 302
        assert browser.get(f"{USERS}export/csv/", {"password__startswith": "x"}).status_code == 400
        assert not Event.objects.filter(kind="export.created").exists()

    @pytest.mark.parametrize("beginning", FORMULA_BEGINNINGS)
    def test_no_cell_is_a_formula(self, browser: Client, agent: Caller, user: User, beginning: str) -> None:
        hostile = f"{beginning}cmd|' /C calc'!A0"
        make_requests(agent.agent, user, 1, binding_message=hostile)
        make_requests(agent.agent, user, 1, binding_message='x";=1+1;"\n@SUM(A1)')
        agent.agent.name = hostile
        agent.agent.save()
        rows = list(csv.DictReader(io.StringIO(exported(browser, REQUESTS, "csv")[1], newline="")))
        assert sorted(row["binding_message"] for row in rows) == sorted([f"'{hostile}", 'x";=1+1;"\n@SUM(A1)'])
        assert {row["agent"] for row in rows} == {f"'{hostile}"}

    def test_each_cell_is_quoted(self, browser: Client) -> None:
        """A spreadsheet of another locale separates cells by semicolons, but not inside quotes."""
        lines = exported(browser, USERS, "csv")[1].splitlines()
        assert all(line.startswith('"') and line.endswith('"') for line in lines)

    def test_a_number_is_no_text(self) -> None:
        assert [cell_of(one) for one in (5, None, True, ["-x"], "-5")] == ["5", "", "True", '["-x"]', "'-5"]


MODELS = [Event, BackchannelRequest, Grant, Lease, User]


@pytest.mark.parametrize("model", MODELS)
def test_no_secret_column_leaves(model: Any) -> None:
    model_admin = admin.site._registry[model]
    assert isinstance(model_admin, ExportingList)
    for name, path in model_admin.exported_columns.items():
        if model is Event and path in ("agent_name", "email"):
            continue  # the names that the list adds
        owner: Any = model
        for step in path.split("__"):
            column = owner._meta.get_field(step)
            owner = column.related_model or owner
        assert not isinstance(column, models.BinaryField | SealedField), name
        for word in ("password", "secret", "salt", "token", "nonce", "sealed", "jwks", "epoch"):
            assert word not in path, name


@pytest.mark.parametrize("model", MODELS)
def test_the_order_ends_with_a_unique_column_and_no_column_is_null(model: Any) -> None:
    model_admin = admin.site._registry[model]
    columns = [
        model._meta.get_field(name) for name in keyset.columns_of(tuple(model_admin.ordering or model._meta.ordering))
    ]
    assert columns[-1].unique and not any(column.null for column in columns)


def test_a_walk_over_the_rows_of_several_users_meets_each_once(browser: Client, agent: Caller) -> None:
    users = User.objects.bulk_create(User(email=f"u{number}@example.com") for number in range(4))
    for one in users:
        make_requests(agent.agent, one, 33)
    wanted = sorted(BackchannelRequest.objects.values_list("created_at", "pk"), reverse=True)
    for query in ({"q": "u"}, {"user": "u"}, {"user": "u", "agent": "assist"}):
        assert [pk for one in walk(browser, REQUESTS, "next_link", query) for pk in one] == [pk for _, pk in wanted]
