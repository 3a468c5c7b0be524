"""Every page of a user on a narrow phone, in Chromium: nothing is cut off, and times are those of the phone."""

import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Browser, BrowserContext, Page
from pytest_django.live_server_helper import LiveServer

from accounts.models import User
from audit import events
from audit.record import About, record
from ciba.models import Prompt
from devices.models import Device
from devices.vapid import make_key
from oauth.models import Grant, RefreshToken
from tests.stories.test_consent import sign_in
from tests.support.consent import make_web_agent
from tests.support.world import PAYMENT, Caller, ResourceServer

pytestmark = [pytest.mark.django_db(transaction=True)]

LATE, NOON = datetime(2031, 11, 24, 23, 30, tzinfo=UTC), datetime(2031, 11, 24, 12, 0, tzinfo=UTC)
LATE_IN_UTC = "24 November 2031, 23:30:00 UTC"
WIDTH = 390


@pytest.fixture
def paths(agent: Caller, user: User, bank: ResourceServer, browser_of_user: Client) -> dict[str, str]:
    """A user with one of everything that has a time: its page by name."""
    web = make_web_agent("Calendar helper of the purchasing department", method="none")
    web.refresh(web.tokens(browser_of_user)["refresh_token"])
    agent.ask(user, authorization_details=[PAYMENT])
    answered = Prompt.objects.get()
    browser_of_user.post(f"/v1/prompts/{answered.id}/approve")
    agent.ask(user, authorization_details=[PAYMENT], binding_message="Order 17")
    (waiting,) = Prompt.objects.exclude(pk=answered.pk)
    grant = Grant.objects.get(agent=web.agent)
    Grant.objects.filter(pk=grant.pk).update(created_at=LATE, expires_at=LATE + timedelta(days=90))
    RefreshToken.objects.update(created_at=LATE, expires_at=LATE + timedelta(days=14))
    Device.objects.create(
        user=user, name="Pat's phone", push_service="jmt17.google.com", vapid_key=make_key(timezone.now()),
        created_at=LATE, last_reached_at=LATE,
    )  # fmt: skip
    with transaction.atomic():
        for at in (NOON, LATE):
            record(events.USER_SIGNED_IN, About(f"user:{user.id}", user_id=user.id), at)
    return {
        "inbox": "/", "agents": "/agents", "devices": "/devices", "activity": "/activity",
        "grant": f"/grants/{grant.id}", "prompt": f"/prompts/{waiting.id}", "answered": f"/prompts/{answered.id}",
        "consent": web.url(prompt="consent"),
    }  # fmt: skip


@pytest.fixture
def contexts(browser: Browser, live_server: LiveServer, settings: Any, user: User) -> Iterator[Any]:
    """Opens a signed-in phone. An error in its console, a broken policy too, fails the test."""
    settings.ISSUER_URL = live_server.url
    opened: list[BrowserContext] = []
    problems: list[str] = []

    def open_phone(**options: Any) -> Page:
        context = browser.new_context(viewport={"width": WIDTH, "height": 844}, base_url=live_server.url, **options)
        opened.append(context)
        page = context.new_page()
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto("/login")
        sign_in(page, user)
        page.get_by_role("button", name="Sign out").wait_for()
        return page

    yield open_phone
    for context in opened:
        context.close()
    assert problems == []


def days_of(page: Page) -> dict[str, list[str]]:
    """Of the activity: the times by day."""
    days = page.locator(".day").all_inner_texts()
    lists = [one.locator("time").all_inner_texts() for one in page.locator(".log").all()]
    return {day.replace(",", ""): times for day, times in zip(days, lists, strict=True)}


def times_of(page: Page) -> list[tuple[str, str]]:
    return [(one.inner_text(), one.get_attribute("title") or "") for one in page.locator("time[data-shows]").all()]


@pytest.mark.parametrize("locale", ["en-GB", "en-US", "de-DE"])
def test_no_page_is_wider_than_a_phone(contexts: Any, paths: dict[str, str], locale: str) -> None:
    page = contexts(locale=locale, timezone_id="America/Argentina/Buenos_Aires")
    for name, path in paths.items():
        page.goto(path)
        page.evaluate("for (const one of document.querySelectorAll('main details')) one.open = true")
        if folder := os.environ.get("SCREENSHOTS"):
            page.screenshot(path=Path(folder) / f"{name}-{locale}.png", full_page=True)
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= WIDTH, f"{name} is {width} pixels wide"
        cut_off = page.evaluate(
            "[...document.querySelectorAll('main *')].filter(one => one.getBoundingClientRect().right >"
            " document.querySelector('main').getBoundingClientRect().right).map(one => one.outerHTML.slice(0, 120))"
        )
        assert cut_off == [], name


def test_times_are_those_of_the_phone_and_utc_is_at_hand(contexts: Any, paths: dict[str, str]) -> None:
    page = contexts(locale="en-GB", timezone_id="Asia/Kolkata")  # five and a half hours ahead
    page.goto(paths["grant"])
    reply = [text for text, title in times_of(page) if title == LATE_IN_UTC]
    assert reply and all(re.fullmatch("25 November 2031,? (at )?05:00(:00)?", text) for text in reply), reply
    assert all(title.endswith(" UTC") and "UTC" not in text for text, title in times_of(page))
    page.goto(paths["devices"])
    assert ("25 Nov 2031, 05:00", LATE_IN_UTC) in times_of(page)
    assert ("25 November 2031", LATE_IN_UTC) in times_of(page)
    for name in ("agents", "answered", "prompt", "inbox", "consent"):
        page.goto(paths[name])
        assert times_of(page), name
        assert "UTC" not in page.locator("main").inner_text(), name


def test_the_days_of_the_activity_are_those_of_the_phone(contexts: Any, paths: dict[str, str]) -> None:
    page = contexts(locale="en-GB", timezone_id="Asia/Kolkata")
    page.goto(paths["activity"])
    assert "Times are in your time zone (Asia/" in page.locator("main").inner_text()
    assert days_of(page)["Tuesday 25 November 2031"] == ["05:00"]
    assert days_of(page)["Monday 24 November 2031"] == ["17:30"]
    assert page.locator(".log > li").count() > 4, "none was lost"
    page.context.close()
    page = contexts(locale="en-GB", timezone_id="UTC")
    page.goto(paths["activity"])
    assert days_of(page)["Monday 24 November 2031"] == ["23:30", "12:00"]


def test_without_the_script_the_pages_say_utc(contexts: Any, paths: dict[str, str]) -> None:
    page = contexts(timezone_id="Asia/Kolkata", java_script_enabled=False)
    page.goto(paths["grant"])
    assert ("24 November 2031, 23:30 UTC", LATE_IN_UTC) in times_of(page)
    page.goto(paths["activity"])
    assert "Times are UTC." in page.locator("main").inner_text()
    assert days_of(page)["Monday 24 November 2031"] == ["23:30", "12:00"]
