"""The README's first five minutes: `make run`, `make agent`, a click in a browser, the trail."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.patience import PATIENCE
from tests.stories.conftest import ROOT, Product

CARRIED_OUT = ("The operation was carried out", "The account is gone")


@pytest.fixture
def page(browser: Browser, product: Product) -> Iterator[Page]:
    """A phone's browser; an error in its console fails the test."""
    context = browser.new_context(viewport={"width": 360, "height": 740}, base_url=product.url)
    page = context.new_page()
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    yield page
    context.close()
    assert problems == []


@contextmanager
def running_agent(product: Product) -> Iterator[subprocess.Popen[str]]:
    """examples/agent.py, as `make agent` runs it."""
    process = subprocess.Popen(
        [sys.executable, ROOT / "examples" / "agent.py"],
        env=product.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def agent(product: Product) -> Iterator[subprocess.Popen[str]]:
    with running_agent(product) as process:
        yield process


def sign_in(page: Page, product: Product, email: str = "demo@example.com") -> None:
    page.goto("/login")
    page.get_by_label("E-mail address").fill(email)
    page.get_by_label("Password").fill(product.password)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()


def test_an_agent_asks_a_user_approves_the_agent_continues(
    page: Page, product: Product, agent: subprocess.Popen[str]
) -> None:
    sign_in(page, product)
    done, gone = (page.get_by_role("listitem").filter(has_text=text) for text in CARRIED_OUT)
    page.goto("/activity")
    done_before, gone_before = done.count(), gone.count()
    page.goto("/")
    # The inbox is open already: what the agent asks appears by itself.
    waiting = page.locator(".waiting a")
    expect(waiting).to_contain_text("Pay EUR 120.00 to Acme Office Supplies", timeout=PATIENCE * 1000)
    expect(page).to_have_title(re.compile(r"^\(1\) Inbox"))
    waiting.click()

    expect(page.get_by_role("heading", level=1)).to_have_text("Pay EUR 120.00 to Acme Office Supplies")
    expect(page.locator(".claim")).to_contain_text("Countersign did not check")
    expect(page.locator(".claim")).to_contain_text("Paying the invoice from this morning's mail")
    expect(page.locator(".facts").first).to_contain_text("DE89370400440532013000")
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_role("heading", name="You approved this")).to_be_visible()

    # It goes on by itself: the payment is made, and it asks for a database account.
    page.goto("/")
    expect(waiting).to_contain_text("A database account that reads the sample orders", timeout=PATIENCE * 1000)
    waiting.click()
    expect(page.locator(".facts").first).to_contain_text("Find out what Acme ordered this week")
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_role("heading", name="You approved this")).to_be_visible()

    output, _ = agent.communicate(timeout=PATIENCE)
    assert agent.returncode == 0, output
    assert "paid, receipt" in output
    assert output.count("✓ refused") == 5
    for content in (
        "2 orders of Acme, together 167.90",
        "writing is refused",
        "a wrong password is refused",
        "the account cannot open Countersign's own database",
        "the open connection is closed",
        "the account is gone",
    ):
        assert f"✓ {content}" in output

    page.get_by_role("navigation").get_by_role("link", name="Activity").click()
    for line in ("An agent asked for your approval", "You approved", "The agent fetched the tokens"):
        expect(page.get_by_role("listitem").filter(has_text=line).first).to_be_visible()
    expect(done).to_have_count(done_before + 2)
    expect(gone).to_have_count(gone_before + 1)

    page.get_by_role("button", name="Sign out").click()
    sign_in(page, product, "admin@example.com")
    sent = ["An agent asked for an approval", "A user approved", "An agent fetched the tokens of an approved request"]
    lease = [
        "A use was spent",
        "A lease was requested; its account does not exist yet",
        "A lease was issued; its account exists",
        "A lease ended; its account is being revoked",
        "A lease was revoked: a read confirmed that its account is gone",
    ]
    payment = ["A use was refused", "A use was spent", "A use was refused"]
    for number, then in enumerate((lease, payment)):  # the newest comes first
        page.goto("/admin/ciba/backchannelrequest/?state__exact=redeemed")
        page.locator("#result_list tbody a").nth(number).click()
        trail = page.locator("table", has_text="What happened").locator("tbody tr td:nth-child(3)")
        expect(trail).to_have_text([*sent, "A token was issued", *then])


def test_a_denial_stops_the_agent(page: Page, product: Product, agent: subprocess.Popen[str]) -> None:
    sign_in(page, product)
    page.locator(".waiting a").click(timeout=PATIENCE * 1000)
    page.get_by_role("button", name="Deny").click()
    expect(page.get_by_role("heading", name="You denied this")).to_be_visible()
    output, _ = agent.communicate(timeout=PATIENCE)
    assert agent.returncode == 1
    assert "The user denied the request" in output


def test_a_prompt_is_answered_by_keyboard_alone(page: Page, product: Product, agent: subprocess.Popen[str]) -> None:
    sign_in(page, product)
    page.locator(".waiting a").wait_for(timeout=PATIENCE * 1000)
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('.waiting') !== null"):
            break
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Approve").wait_for()
    focused = []
    for _ in range(20):
        page.keyboard.press("Tab")
        focused.append(page.evaluate("document.activeElement.value || ''"))
        if focused[-1] == "approve":
            break
    # Deny comes first: whoever presses Enter too early says no.
    assert focused[-2:] == ["deny", "approve"]
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="You approved this")).to_be_visible()
    # It goes on, and asks for a database account: nothing of it is left for the next story.
    page.goto("/")
    page.locator(".waiting a").click(timeout=PATIENCE * 1000)
    page.get_by_role("button", name="Deny").click()
    expect(page.get_by_role("heading", name="You denied this")).to_be_visible()


def test_stopping_the_agent_cancels_what_it_asks(page: Page, product: Product, agent: subprocess.Popen[str]) -> None:
    sign_in(page, product)
    page.locator(".waiting a").wait_for(timeout=PATIENCE * 1000)
    page.get_by_role("navigation").get_by_role("link", name="Agents").click()
    page.get_by_role("article", name="Assistant").get_by_text("Stop this agent").click()
    page.get_by_role("button", name="Stop Assistant now").click()
    expect(page.get_by_text("You stopped it")).to_be_visible()
    output, _ = agent.communicate(timeout=PATIENCE)
    assert agent.returncode == 1
    assert "invalid_grant" in output
    page.get_by_role("button", name="Allow it to ask again").click()
    expect(page.get_by_text("May ask you", exact=False).first).to_be_visible()


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("path", ["/login", "/", "/agents", "/activity", "/nothing-here"])
def test_no_page_scrolls_sideways(browser: Browser, product: Product, path: str, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 740}, base_url=product.url)
    page = context.new_page()
    if path != "/login":
        sign_in(page, product)
    page.goto(path)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    context.close()
