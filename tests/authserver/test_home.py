"""The first page of the administration: what needs someone, today, first steps, lists, and what each role sees."""

import re
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from accounts.staff_roles import ROLES
from audit import events
from audit.models import Event, SetAsideEvent
from audit.record import SYSTEM, About, record
from authserver.home import attention, figures, first_steps, today
from authserver.home.figures import Figure
from authserver.staff_access import MODELS
from ciba.models import BackchannelRequest
from clients.models import Agent
from credentials.models import Backend, Lease, Recovery
from devices.models import Device
from foundation.models import Work
from oauth.models import SigningKey
from oauth.tokens import signing_keys
from tests.properties.administration import make_rows
from tests.support.certificates import make_certificate
from tests.support.world import PAYMENT, Caller, make_user

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 11, 30, 12, 30, tzinfo=UTC)


def browser_of(*roles: str) -> Client:
    staff = make_user(f"{'-'.join(roles) or 'nobody'}@staff.example.com", is_staff=True)
    staff.groups.add(*Group.objects.filter(name__in=[f"Staff: {role.capitalize()}" for role in roles]))
    browser = Client()
    browser.force_login(staff)
    return browser


def home(browser: Client) -> str:
    page = browser.get("/admin/")
    assert page.status_code == 200
    return page.content.decode()


@pytest.fixture
def rows(agent: Caller, user: User, administrator: User) -> None:
    """A row of each model: a stuck lease, a set-aside event, an ended recovery, a request that waits."""
    make_rows(agent, user, administrator)


@pytest.fixture
def troubles(rows: None, agent: Caller, user: User, signing: None) -> None:
    """One row for each check."""
    now, ago = timezone.now(), timezone.now() - timedelta(hours=1)
    BackchannelRequest.objects.update(created_at=ago)
    agent.ask(user, authorization_details=[PAYMENT])  # a second one, which has waited for no minute
    stuck = Lease.objects.get()
    Lease.objects.filter(pk=stuck.pk).update(ended_at=ago)
    Lease.objects.bulk_create(
        [copy_of(stuck, n, state=state, ended_at=ended) for n, (state, ended) in enumerate(
            [("revoking", ago), ("disabled", ago), ("revoking", now), ("active", None), ("revoked", ago)]
        )]
    )  # fmt: skip
    Backend.objects.update(failing_since=ago)
    Recovery.objects.update(ended_at=None)
    for kind, state, finished in (
        ("callback", "abandoned", ago), ("callback", "abandoned", now - timedelta(days=2)), ("callback", "done", ago),
        ("push", "abandoned", ago),
    ):  # fmt: skip
        Work.objects.create(
            kind=kind, about="x", payload={}, state=state, created_at=ago, due_at=ago, deadline_at=ago,
            finished_at=finished,
        )  # fmt: skip
    SigningKey.objects.filter(algorithm="ES256").update(active_at=now - timedelta(days=400))
    for n, days in enumerate((10, 90)):
        Agent.objects.create(
            name=f"Certified {n}", token_endpoint_auth_method="self_signed_tls_client_auth",
            client_jwks={"keys": [make_certificate(days=(-1, days)).jwk()]},
        )  # fmt: skip


def copy_of(lease: Lease, number: int, **changed: Any) -> Lease:
    values = {field.attname: getattr(lease, field.attname) for field in Lease._meta.concrete_fields}
    del values["id"]
    return Lease(**(values | {"account_name": f"copy{number}", "wrap_digest": None} | changed))


EXPECTED = {
    "event could not be written to the audit log and was set aside": 1,
    "recovery has paused revocation": 1,
    "lease is stuck: its account could not be revoked": 1,
    "leases have ended and their accounts are overdue for revocation": 2,
    "backend does not answer": 1,
    "request has waited for its user for more than a minute": 1,
    "callback did not reach its agent in the last 24 hours": 1,
    "signing key is older than a year: run manage.py rotate_keys": 1,
    "agent has a certificate that ends within 30 days or has ended": 1,
}
CONCERN = re.compile(r'<li><a href="([^"]*)"><strong>([^<]*)</strong> ([^<]*)</a></li>')


def concerns_of(browser: Client) -> dict[str, tuple[str, str]]:
    """Text → number and link."""
    return {text: (number, unescape(url)) for url, number, text in CONCERN.findall(home(browser))}


class TestAttention:
    def test_nothing(self, administrator: User, signing: None) -> None:
        browser = Client()
        browser.force_login(administrator)
        assert "Nothing needs attention." in home(browser)

    def test_each_concern_has_its_number_and_links_to_these_rows(self, troubles: None, administrator: User) -> None:
        browser = Client()
        browser.force_login(administrator)
        found = concerns_of(browser)
        assert {text: int(number) for text, (number, _) in found.items()} == EXPECTED
        for text, (number, url) in found.items():
            page = browser.get(url)
            assert page.status_code == 200, (text, page.get("Location"))
            assert page.context["cl"].result_count == int(number), text

    def test_every_check_has_a_permission_that_a_role_has(self) -> None:
        granted = frozenset().union(*(role.permissions for role in ROLES))
        assert {check.permission for check in attention.CHECKS} <= granted

    @pytest.mark.parametrize("role", [role.name for role in ROLES])
    def test_a_role_sees_what_it_may_list(self, troubles: None, role: str) -> None:
        browser = browser_of(role)
        seen = concerns_of(browser)
        permissions = next(one.permissions for one in ROLES if one.name == role)
        allowed = {check.one for check in attention.CHECKS if check.permission in permissions}
        allowed |= {check.many for check in attention.CHECKS if check.permission in permissions}
        assert set(seen) == set(EXPECTED) & allowed
        assert all(browser.get(url).status_code == 200 for _, url in seen.values())
        assert bool(seen) == (role != "developer")

    def test_a_missing_signing_key(self, signing: None, administrator: User) -> None:
        SigningKey.objects.filter(algorithm="RS256").update(withdrawn_at=timezone.now() - timedelta(seconds=1))
        signing_keys.clear_cache()
        texts = [concern.text for concern in attention.find_concerns(administrator, timezone.now())]
        assert texts == ["algorithm has no signing key: run manage.py rotate_keys"]

    def test_a_decoy_needs_nobody(self, rows: None, administrator: User) -> None:
        BackchannelRequest.objects.update(created_at=timezone.now() - timedelta(hours=1), user=None)
        texts = [concern.text for concern in attention.find_concerns(administrator, timezone.now())]
        assert not any("waited" in text for text in texts)


class TestFigures:
    def test_a_count_stops(self, db: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(figures, "MAX_COUNTED", 3)
        for count, text in ((0, "0"), (3, "3"), (4, "more than 3"), (9, "more than 3")):
            SetAsideEvent.objects.all().delete()
            SetAsideEvent.objects.bulk_create(
                SetAsideEvent(at=NOON, kind="x", body="", problem="") for _ in range(count)
            )
            with CaptureQueriesContext(connection) as queries:
                assert str(figures.count_rows(SetAsideEvent.objects.all())) == text
            assert "LIMIT 4" in queries[0]["sql"]

    def test_a_sum_remembers_that_there_are_more(self) -> None:
        assert str(Figure(1000, is_more=True) + Figure(5)) == "more than 1,005"


class TestToday:
    def happen(self, kind: events.EventKind, at: datetime, times: int = 1) -> None:
        for _ in range(times):
            record(kind, About(SYSTEM), at)

    def test_events_by_hour(self, administrator: User) -> None:
        midnight = NOON.replace(hour=0, minute=0)
        self.happen(events.REQUEST_OPENED, midnight - timedelta(microseconds=1))
        self.happen(events.REQUEST_OPENED, midnight)
        self.happen(events.REQUEST_OPENED, midnight + timedelta(hours=3), 2)
        self.happen(events.REQUEST_DENIED, midnight + timedelta(hours=3, minutes=59))
        self.happen(events.REQUEST_OPENED, NOON, 3)
        charts = {chart.title: chart for chart in today.read_charts(administrator, NOON)}
        assert [figure.count for figure in charts["Requests"].hours] == [1, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 3]
        assert [figure.count for figure in charts["Denials"].hours] == [0, 0, 0, 1, *[0] * 9]
        assert charts["Requests"].label == "Requests by hour, UTC: 6 today, most from 12:00 (3)."
        assert charts["Uses"].label == "Uses by hour, UTC: 0 today."
        tallest = max(charts["Requests"].bars, key=lambda bar: bar.height)
        assert (tallest.x, tallest.height, tallest.y) == (121, today.CHART_HEIGHT, 0)

    def test_an_hour_counts_to_a_limit(self, administrator: User, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(today, "MAX_COUNTED", 3)
        monkeypatch.setattr(figures, "MAX_COUNTED", 3)
        self.happen(events.USE_SPENT, NOON, 5)
        (chart,) = (chart for chart in today.read_charts(administrator, NOON) if chart.title == "Uses")
        assert str(chart.total) == "more than 3"

    def test_the_page_has_pictures_with_a_label_and_a_table(self, administrator: User) -> None:
        browser = Client()
        browser.force_login(administrator)
        self.happen(events.REQUEST_APPROVED, timezone.now())
        text = home(browser)
        assert text.count('<svg role="img" aria-label="') == len(today.SERIES)
        assert 'aria-label="Approvals by hour, UTC: 1 today' in text
        assert text.count('<th scope="row">') >= timezone.now().hour + 1
        assert " style=" not in text and "<style" not in text and not re.search(r"<script(?![^>]*\bsrc=)", text)
        links = re.findall(r'<figcaption><a href="([^"]*)">Approvals', text)
        page = browser.get(unescape(links[0]))
        assert page.status_code == 200 and page.context["cl"].result_count == 1

    @pytest.mark.parametrize(
        ("role", "titles"),
        [
            ("auditor", ["Requests", "Approvals", "Denials", "Uses", "Leases"]), ("operator", ["Leases"]),
            ("developer", []),
        ],
    )  # fmt: skip
    def test_a_role_sees_its_charts(self, role: str, titles: list[str]) -> None:
        text = home(browser_of(role))
        assert [series.title for series in today.SERIES if f'="{series.title} by' in text] == titles
        assert ("<figcaption><a" in text) == (role == "auditor"), "an operator may not see the audit log"


class TestFirstSteps:
    def test_until_they_are_done(self, administrator: User) -> None:
        titles = {step.title: step.is_done for step in first_steps.find_steps(administrator)}
        assert len(titles) == 5 and not any(titles.values())
        assert "ISSUER_URL must be an https URL." in first_steps.find_unsafe_settings()

    def test_nothing_once_all_are_done(self, rows: None, administrator: User, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(first_steps.checks, "find_unsafe", dict)
        assert first_steps.find_steps(administrator) == []
        Device.objects.update(removed_at=timezone.now())
        (left,) = (step for step in first_steps.find_steps(administrator) if not step.is_done)
        assert left.title == "Enrol the first phone" and left.url == "/devices"

    @pytest.mark.parametrize(("role", "count"), [("developer", 1), ("operator", 1), ("auditor", 1)])
    def test_a_role_sees_what_it_can_do(self, role: str, count: int) -> None:
        text = home(browser_of(role))
        assert f"First steps: 0 of {count} done" in text
        assert ("/admin/clients/agent/add/" in text) == (role == "developer")


class TestLists:
    @pytest.mark.parametrize("letter", "ASODU")
    def test_those_that_the_role_may_see(self, letter: str) -> None:
        role = dict(zip("ASODU", ROLES, strict=True))[letter]
        text = home(browser_of(role.name))
        listed = set(re.findall(r'<th scope="row" id="[^"]*"><a href="[^"]*"[^>]*>([^<]*)</a>', text))
        assert listed == {access.title for access in MODELS if letter in access.sees}
        groups = re.findall(r"<caption>([^<0-9]*)</caption>", text)
        order = ["Agents", "APIs", "Credentials", "Users", "Requests", "Audit log", "System"]
        wanted = {access.group for access in MODELS if letter in access.sees}
        assert groups == [name for name in order if name in wanted]

    def test_one_without_a_role_is_told_whom_to_ask(self) -> None:
        text = home(browser_of())
        assert "You have no role yet. Ask an administrator for one." in text and "<svg role" not in text


def test_the_page_asks_the_database_a_fixed_number_of_times(troubles: None, administrator: User) -> None:
    browser = Client()
    browser.force_login(administrator)
    home(browser)
    with CaptureQueriesContext(connection) as before:
        home(browser)
    lease = Lease.objects.filter(state="stuck").get()
    Lease.objects.bulk_create([copy_of(lease, 100 + n) for n in range(20)])
    for _ in range(20):
        record(events.REQUEST_OPENED, About(SYSTEM), timezone.now())
    with CaptureQueriesContext(connection) as after:
        home(browser)
    assert len(after) == len(before) <= 30
    assert Event.objects.exists()
