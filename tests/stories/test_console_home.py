"""The first page of the administration in Chromium: it fits a phone, light and dark, and holds what axe-core asks."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import Group
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect

from accounts.models import User
from audit import events
from audit.record import SYSTEM, About, record_alone
from runtime.processes import free_port
from tests.authserver.test_home import EXPECTED, rows, troubles  # noqa: F401 - fixtures
from tests.stories.test_accessibility import check
from tests.support.web_server import make_server, running
from tests.support.world import make_user

pytestmark = pytest.mark.django_db(transaction=True)
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture
def server(db: None, tmp_path: Path) -> Iterator[str]:
    port = free_port()
    url = f"http://localhost:{port}"
    with running(make_server(port, tmp_path, ISSUER_URL=url), port):
        yield url


def open_home(browser: Browser, server: str, staff: User, width: int, scheme: Any) -> Page:
    signed_in = Client()
    signed_in.force_login(staff)
    context = browser.new_context(
        viewport={"width": width, "height": 844}, color_scheme=scheme, base_url=server, bypass_csp=True,
        reduced_motion="reduce",
    )  # fmt: skip
    session = signed_in.cookies[settings.SESSION_COOKIE_NAME].value
    context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": session, "url": server}])
    page = context.new_page()
    page.goto("/admin/")
    return page


@pytest.fixture
def day(db: None) -> None:
    """Some of everything since midnight, before anything else happens: ids are in the order of time."""
    now = timezone.now()
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    for hour in range(now.hour + 1):
        for number, kind in enumerate((events.REQUEST_OPENED, events.REQUEST_APPROVED, events.USE_SPENT)):
            for _ in range((hour * (3 + number)) % 7):
                record_alone(kind, About(SYSTEM), midnight + timedelta(hours=hour))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits(
    browser: Browser, server: str, administrator: User, day: None, troubles: None, width: int, scheme: str  # noqa: F811
) -> None:  # fmt: skip
    page = open_home(browser, server, administrator, width, scheme)
    expect(page.get_by_role("heading", name="Needs attention")).to_be_visible()
    assert page.locator(".concerns li").count() == len(EXPECTED)
    assert page.evaluate(OVERFLOW) == 0
    page.get_by_text("The same figures as a table").click()
    expect(page.get_by_role("columnheader", name="Approvals")).to_be_visible()
    assert page.evaluate(OVERFLOW) == 0
    assert page.locator(".charts svg").first.bounding_box()["height"] > 20  # type: ignore[index]
    check(page)
    page.context.close()


def test_without_bypassing_the_policy_everything_is_drawn(
    browser: Browser, server: str, administrator: User, day: None, troubles: None  # noqa: F811
) -> None:  # fmt: skip
    """A strict Content Security Policy drops inline styles without a word to the user."""
    page = open_home(browser, server, administrator, 390, "light")
    context = browser.new_context(viewport={"width": 390, "height": 844}, base_url=server)
    context.add_cookies(page.context.cookies())  # type: ignore[arg-type]
    problems: list[str] = []
    strict = context.new_page()
    strict.on("console", lambda message: problems.append(message.text))
    strict.goto("/admin/")
    assert problems == []
    bars = strict.locator(".charts rect")
    assert max(bars.nth(n).bounding_box()["height"] for n in range(bars.count())) > 20  # type: ignore[index]
    context.close()
    page.context.close()


def test_by_keyboard(browser: Browser, server: str, administrator: User, troubles: None) -> None:  # noqa: F811
    page = open_home(browser, server, administrator, 1280, "light")
    page.locator(".concerns a").first.focus()
    page.keyboard.press("Tab")
    expect(page.locator(".concerns a").nth(1)).to_be_focused()
    page.keyboard.press("Enter")
    page.wait_for_url("**/admin/**?**")
    page.context.close()


@pytest.mark.parametrize("role", ["Developer", "Operator"])
def test_a_role_on_a_phone(browser: Browser, server: str, role: str, troubles: None) -> None:  # noqa: F811
    staff = make_user("staff@example.com", is_staff=True)
    staff.groups.add(Group.objects.get(name=f"Staff: {role}"))
    page = open_home(browser, server, staff, 390, "light")
    assert page.evaluate(OVERFLOW) == 0
    page.goto("/admin/clients/agent/add/" if role == "Developer" else "/admin/credentials/lease/")
    expect(page.locator("#content")).to_be_visible()
    page.context.close()


def test_the_roles_of_a_user_on_a_phone(browser: Browser, server: str, user: User) -> None:
    staff = make_user("staff@example.com", is_staff=True)
    staff.groups.add(Group.objects.get(name="Staff: Administrator"))
    page = open_home(browser, server, staff, 390, "light")
    page.goto(f"/admin/accounts/user/{user.pk}/change/")
    assert page.evaluate(OVERFLOW) == 0
    page.get_by_label("Auditor").check()
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("was changed successfully")).to_be_visible()
    assert [one.name for one in User.objects.get(pk=user.pk).staff_roles] == ["auditor"]
    page.context.close()
