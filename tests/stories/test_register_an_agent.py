"""An administrator registers an agent step by step, and its builder runs the program that the page gave."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.patience import PATIENCE
from tests.stories.conftest import Product
from tests.stories.test_accessibility import check as check_page

WIDTHS = {"phone": {"width": 390, "height": 800}, "desktop": {"width": 1280, "height": 900}}


@contextmanager
def signed_in(browser: Browser, product: Product, email: str, width: str) -> Iterator[Page]:
    """A browser of this user. An error in its console fails the test."""
    context = browser.new_context(viewport=WIDTHS[width], base_url=product.url)  # type: ignore[arg-type]
    page = context.new_page()
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto("/login")
    page.get_by_label("E-mail address").fill(email)
    page.get_by_label("Password").fill(product.password)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    yield page
    context.close()
    assert problems == []


def check_fits(page: Page) -> None:
    check_page(page)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "the page scrolls sideways"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def start_program(page: Page, folder: Path) -> "subprocess.Popen[str]":
    """As its builder does: both files from the page, then the commands that the program's first lines name."""
    for element, name in (("environment", "agent.env"), ("program", "agent.py")):
        (folder / name).write_text(page.locator(f"#{element}").text_content() or "")
    own = {"PATH": os.environ["PATH"], "BROWSER": "true"}  # `true` opens no second browser
    command = f"set -a; . ./agent.env; set +a; exec {sys.executable} -u agent.py"
    return subprocess.Popen(
        [shutil.which("sh") or "/bin/sh", "-c", command],
        cwd=folder, env=own, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def answered(process: "subprocess.Popen[str]") -> str:
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output
    return output


@pytest.mark.parametrize("width", list(WIDTHS))
def test_a_service_with_a_key_made_in_the_browser(browser: Browser, product: Product, folder: Path, width: str) -> None:
    with signed_in(browser, product, "admin@example.com", width) as page:
        page.goto("/admin/clients/agent/")
        page.get_by_role("link", name="Register an agent, step by step").click()
        check_fits(page)
        page.get_by_role("link", name="A service on a server").click()
        page.get_by_label("Name", exact=True).fill(f"Bookkeeper on a {width}")
        page.get_by_label("calendar.read").check()
        page.get_by_label("Users it may ask").fill("demo@example.com")
        check_fits(page)
        # The private key is lost unless it is saved first.
        page.get_by_role("button", name="Register the agent").click()
        expect(page.get_by_role("link", name="Save the private key")).to_be_focused()
        with page.expect_download() as download:
            page.get_by_role("link", name="Save the private key").click()
        download.value.save_as(folder / "agent-key.json")
        sent: list[str] = []
        page.on("request", lambda request: sent.append(request.post_data or ""))
        page.get_by_role("button", name="Register the agent").click()
        expect(page.get_by_role("heading", name="agent.env")).to_be_visible()
        assert json.loads((folder / "agent-key.json").read_text())["d"] not in "".join(sent)
        expect(page.get_by_text("The agent cannot work yet")).to_have_count(0)
        check_fits(page)
        program = start_program(page, folder)
    with signed_in(browser, product, "demo@example.com", width) as phone:
        phone.locator(".waiting a").filter(has_text=f"Bookkeeper on a {width}").click()
        phone.get_by_role("button", name="Approve").click()
        expect(phone.get_by_role("heading", name="You approved this")).to_be_visible()
    output = answered(program)
    assert "Routine work: a token for" in output
    assert "Approved: a token for" in output


def test_a_script_with_a_secret(browser: Browser, product: Product, folder: Path) -> None:
    with signed_in(browser, product, "admin@example.com", "desktop") as page:
        page.goto("/admin/clients/agent/register/?kind=script")
        page.get_by_label("Name", exact=True).fill("Night script")
        page.get_by_label("Its user").fill("demo@example.com")
        page.get_by_label("A client secret").check()
        expect(page.get_by_label("Public key", exact=True)).to_be_hidden()
        page.get_by_label("calendar.read").check()
        page.get_by_role("button", name="Register the agent").click()
        expect(page.get_by_text("The secret is shown only now.")).to_be_visible()
        program = start_program(page, folder)
        curl = page.locator("#curl").text_content() or ""
    called = subprocess.run(curl.split(), capture_output=True, text=True, check=True)
    assert json.loads(called.stdout)["token_type"] == "Bearer"
    with signed_in(browser, product, "demo@example.com", "phone") as phone:
        phone.locator(".waiting a").filter(has_text="Night script").click()
        phone.get_by_role("button", name="Deny").click()
        expect(phone.get_by_role("heading", name="You denied this")).to_be_visible()
    output, _ = program.communicate(timeout=PATIENCE)
    assert program.returncode != 0
    assert "Not approved: access_denied" in output


def test_a_desktop_tool(browser: Browser, product: Product, folder: Path) -> None:
    with signed_in(browser, product, "admin@example.com", "desktop") as page:
        page.goto("/admin/clients/agent/register/?kind=desktop")
        page.get_by_label("Name", exact=True).fill("Terminal tool")
        page.get_by_label("calendar.read").check()
        page.get_by_role("button", name="Register the agent").click()
        program = start_program(page, folder)
    with signed_in(browser, product, "demo@example.com", "phone") as phone:
        assert program.stdout is not None
        phone.goto(program.stdout.readline().removeprefix("Open ").strip())
        phone.get_by_role("button", name="Allow").click()
        expect(phone.get_by_text("You can close this page.")).to_be_visible()
    assert "Consent given: a token for" in answered(program)
