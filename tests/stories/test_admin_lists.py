"""The administration's large lists in Chromium: on a phone, and filter by filter."""

import json
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect
from pytest_django.live_server_helper import LiveServer

from accounts.models import User
from audit import events
from audit.record import About, record
from ciba.models import BackchannelRequest
from oauth.models import Grant
from tests.audit.test_large_lists import EVENTS, GRANTS, LEASES, REQUESTS, USERS, make_requests
from tests.stories.test_consent import sign_in
from tests.support.world import PAYMENT, Caller

pytestmark = [pytest.mark.django_db(transaction=True)]
WIDTH = 390


@pytest.fixture
def phone(browser: Browser, live_server: LiveServer, settings: Any, administrator: User) -> Iterator[Page]:
    """An administrator's phone. An error in its console, a broken policy too, fails the test."""
    settings.ISSUER_URL = live_server.url
    problems: list[str] = []
    context = browser.new_context(
        viewport={"width": WIDTH, "height": 844}, base_url=live_server.url, accept_downloads=True
    )
    page = context.new_page()
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto("/login")
    sign_in(page, administrator)
    page.get_by_role("button", name="Sign out").wait_for()
    yield page
    context.close()
    assert problems == []


@pytest.fixture
def filled(agent: Caller, other_agent: Caller, user: User) -> None:
    agent.ask(user, authorization_details=[PAYMENT])
    make_requests(agent.agent, user, 60, timezone.now())
    make_requests(other_agent.agent, user, 3, timezone.now())
    now = timezone.now()
    Grant.objects.create(
        agent=agent.agent, user=user, operation_digest="x" * 43, created_at=now, expires_at=now + timedelta(hours=1)
    )
    long = User.objects.create(email=f"{'a' * 60}@{'b' * 60}.example.com", name="X" * 150)
    with transaction.atomic():
        for number in range(60):
            about = About(f"user:{long.pk}", client_id=agent.agent.client_id, user_id=long.pk)
            record(events.USER_SIGNED_IN, about, now, number=number)


@pytest.mark.parametrize("path", [EVENTS, REQUESTS, GRANTS, LEASES, USERS])
def test_no_list_is_wider_than_a_phone(phone: Page, filled: None, path: str) -> None:
    query = "?q=person%40example.com&user=person" if path != USERS else "?is_active__exact=1"
    for name, address in {"list": path, "filtered": path + query}.items():
        phone.goto(address)
        if folder := os.environ.get("SCREENSHOTS"):
            phone.screenshot(path=Path(folder) / f"{path.split('/')[3]}-{name}.png", full_page=True)
        assert phone.evaluate("document.documentElement.scrollWidth") <= WIDTH
        scrolled = phone.evaluate(
            "[...document.querySelectorAll('#changelist *')].filter(one => one.scrollWidth > one.clientWidth + 1"
            " && ['auto', 'scroll'].includes(getComputedStyle(one).overflowX)).map(one => one.outerHTML.slice(0, 90))"
        )
        assert scrolled == []
        if path != LEASES:
            right = phone.evaluate(
                "Math.max(...[...document.querySelectorAll('#result_list td, #result_list th')]"
                ".map(one => one.getBoundingClientRect().right))"
            )
            assert 0 < right <= WIDTH


def test_filters_older_rows_and_the_export(phone: Page, filled: None) -> None:
    phone.set_viewport_size({"width": 1280, "height": 900})
    phone.goto(REQUESTS)
    rows = phone.locator("#result_list tbody tr")
    expect(rows).to_have_count(50)
    phone.get_by_role("link", name="Older").click()
    expect(rows).to_have_count(14)
    phone.get_by_label("Client ID, or the beginning of the name").fill("other")
    phone.keyboard.press("Enter")
    expect(rows).to_have_count(3)
    phone.get_by_label("ID, or the beginning of the e-mail address").fill("nobody")
    phone.keyboard.press("Enter")
    expect(rows).to_have_count(0)
    phone.get_by_role("link", name="Remove the filter user").click()
    expect(rows).to_have_count(3)
    phone.get_by_role("link", name="Last hour").click()
    expect(phone.locator("#active-filters li")).to_have_count(2)
    expect(rows).to_have_count(3)
    with phone.expect_download() as download:
        phone.get_by_role("link", name="Export these rows (JSON)").click()
    exported = json.loads(Path(download.value.path()).read_text())
    ids = BackchannelRequest.objects.filter(agent__name="Other").values_list("id", flat=True)
    assert sorted(one["id"] for one in exported) == sorted(str(one) for one in ids)
    phone.get_by_label("From (UTC)").fill("2020-01-01T00:00")
    phone.get_by_label("To (UTC), exclusive").fill("2020-01-02T00:00")
    phone.get_by_label("To (UTC), exclusive").press("Enter")
    expect(rows).to_have_count(0)
