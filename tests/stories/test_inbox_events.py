"""An open inbox shows a change within a second by an event stream, or by polling if there is no stream."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, Request, expect

from tests.patience import PATIENCE
from tests.stories.conftest import Product
from tests.stories.test_first_five_minutes import running_agent, sign_in

NOTE_WHEN_IT_APPEARS = """() => {
    new MutationObserver(() => {
        if (document.querySelector(".waiting a")) window.appearedAt ??= Date.now();
        else if (window.appearedAt) window.goneAt ??= Date.now();
    }).observe(document.getElementById("list"), { childList: true });
}"""


@pytest.fixture
def page(browser: Browser, product: Product) -> Iterator[Page]:
    context = browser.new_context(base_url=product.url)
    yield context.new_page()
    context.close()


def looks(page: Page) -> list[Request]:
    """Every fetching of the list from now on."""
    seen: list[Request] = []
    page.on("request", lambda request: seen.append(request) if "part=list" in request.url else None)
    return seen


def test_a_prompt_appears_and_goes_by_itself(page: Page, product: Product) -> None:
    sign_in(page, product)
    page.evaluate(NOTE_WHEN_IT_APPEARS)
    with running_agent(product) as agent:
        page.locator(".waiting a").wait_for(timeout=PATIENCE * 1000)
        (prompt,) = page.evaluate("fetch('/v1/prompts').then((answer) => answer.json())")["prompts"]

        answering = page.context.new_page()
        answering.goto(f"/prompts/{prompt['id']}")
        answering.get_by_role("button", name="Approve").click()
        expect(answering.get_by_role("heading", name="You approved this")).to_be_visible()
        page.wait_for_function("window.goneAt", timeout=PATIENCE * 1000)
        # It goes on, and asks for a database account: nothing of it is left for the next story.
        page.locator(".waiting a").click(timeout=PATIENCE * 1000)
        page.get_by_role("button", name="Approve").click()
        output, _ = agent.communicate(timeout=PATIENCE)
        assert agent.returncode == 0, output


def test_an_open_question_notices_that_it_was_answered_elsewhere(page: Page, product: Product) -> None:
    sign_in(page, product)
    with running_agent(product) as agent:
        page.locator(".waiting a").click(timeout=PATIENCE * 1000)
        expect(page.get_by_role("button", name="Approve")).to_be_visible()
        elsewhere = page.context.new_page()
        elsewhere.goto(page.url)
        elsewhere.get_by_role("button", name="Deny").click()
        expect(page.get_by_role("heading", name="You denied this")).to_be_visible(timeout=PATIENCE * 1000)
        expect(page.get_by_role("button", name="Approve")).not_to_be_visible()
        agent.communicate(timeout=PATIENCE)
        assert agent.returncode == 1


def test_a_quiet_inbox_asks_for_nothing(page: Page, product: Product) -> None:
    sign_in(page, product)
    page.wait_for_timeout(1000)
    seen = looks(page)
    page.wait_for_timeout(5000)
    assert len(seen) <= 1


def test_without_a_stream_it_polls(page: Page, product: Product) -> None:
    page.route("**/v1/prompts/events", lambda route: route.fulfill(status=429))
    sign_in(page, product)
    seen = looks(page)
    with running_agent(product) as agent:
        page.locator(".waiting a").click(timeout=PATIENCE * 1000)
        assert len(seen) >= 1
        page.get_by_role("button", name="Deny").click()
        expect(page.get_by_role("heading", name="You denied this")).to_be_visible()
        agent.communicate(timeout=PATIENCE)
        assert agent.returncode == 1


def test_signing_out_in_one_window_signs_out_the_other(page: Page, product: Product) -> None:
    sign_in(page, product)
    other = page.context.new_page()
    other.goto("/agents")
    other.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Password")).to_be_visible(timeout=PATIENCE * 1000)
