"""axe-core over every page of a user, in Chromium: contrast, names, roles, headings, targets (WCAG 2.2 A and AA)."""

import re
import subprocess
import sys
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.patience import PATIENCE
from tests.properties.test_never_500 import every_path
from tests.stories.conftest import ROOT, Product
from tests.stories.test_first_five_minutes import sign_in

EVERYTHING = {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
LOOKS = {"type": "rule", "values": ["color-contrast", "target-size"]}  # what colours and width decide


def check(page: Page, rules: dict[str, Any] = EVERYTHING) -> None:
    """Every part that folds is unfolded, and nothing is wrong."""
    folded = page.locator("main details:not([open]) > summary")
    for left in range(folded.count(), 0, -1):
        folded.first.click()
        expect(folded).to_have_count(left - 1)
    problems = [
        f"{page.url}: {one['id']}: {one['help']}: {[node['html'] for node in one['nodes'][:3]]}"
        for one in Axe().run(page, options={"runOnly": rules}).response["violations"]
    ]
    assert problems == []


def pages_of(page: Page) -> list[str]:
    """Every address that answers this browser with a page, failures included; from the URL table."""
    pages = [path for path in every_path() if not path.startswith("/v1/")]  # that is JSON, and a stream without end
    answers = {path: page.request.get(path, max_redirects=0) for path in pages}
    found = {
        # Failures look alike: one of each title is enough.
        path if answer.ok else re.search(r"<title>(.*?)</title>", answer.text())[1]: path  # type: ignore[index]
        for path, answer in answers.items()
        if answer.headers.get("content-type", "").startswith("text/html") and not answer.headers.get("location")
    }
    return list(found.values())


@pytest.mark.parametrize(("scheme", "width", "rules"), [("light", 360, EVERYTHING), ("dark", 1280, LOOKS)])
def test_every_page(browser: Browser, product: Product, scheme: Any, width: int, rules: dict[str, Any]) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": 740}, color_scheme=scheme, base_url=product.url,
        bypass_csp=True, reduced_motion="reduce",
    )  # fmt: skip
    page = context.new_page()
    page.goto("/login")
    check(page, rules)
    page.get_by_label("E-mail address").fill("nobody@example.com")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("alert").wait_for()
    check(page, rules)
    sign_in(page, product)
    pages = pages_of(page)
    assert {"/", "/login", "/agents", "/devices", "/activity"} <= set(pages)
    for path in [*pages, "/nothing-here"]:
        page.goto(path)
        check(page, rules)
    with subprocess.Popen(
        [sys.executable, ROOT / "examples" / "agent.py"], env=product.environment, stdout=subprocess.DEVNULL
    ) as agent:
        page.goto("/")
        page.locator(".waiting a").first.wait_for(timeout=PATIENCE * 1000)
        check(page, rules)
        page.locator(".waiting a").first.click()
        page.get_by_role("button", name="Approve").wait_for()
        check(page, rules)
        page.get_by_role("button", name="Deny").click()
        page.get_by_role("heading", name="You denied this").wait_for()
        check(page, rules)
        agent.wait(timeout=PATIENCE)
    context.close()
