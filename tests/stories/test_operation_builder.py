"""An administrator builds a refund in the browser: by keyboard alone, without JavaScript, and on a phone."""

import json
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect

from tests.stories.conftest import Product
from tests.stories.test_accessibility import EVERYTHING
from tests.stories.test_first_five_minutes import sign_in

ADD = "/admin/operations/operationtype/add/"


def administrator(browser: Browser, product: Product, **more: Any) -> Page:
    context = browser.new_context(base_url=product.url, reduced_motion="reduce", **more)
    page = context.new_page()
    sign_in(page, product, "admin@example.com")
    return page


def tab_to(page: Page, target: Locator) -> None:
    """Only the Tab key moves: what cannot be reached by it is never found."""
    for _ in range(120):
        if target.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press("Tab")
    pytest.fail(f"the keyboard does not reach {target}")


def write(page: Page, label: str, text: str, row: Locator | Page | None = None) -> None:
    tab_to(page, (row or page).get_by_label(label, exact=True))
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type(text)


def test_a_refund_by_keyboard_alone(browser: Browser, product: Product) -> None:
    page = administrator(browser, product, viewport={"width": 1280, "height": 900})
    page.goto(ADD)
    write(page, "Resource:", "Demo")
    write(page, "Name:", "refund-by-keyboard")
    rows = page.locator("[data-rows-list] > [data-row]")
    write(page, "Name", "order", rows.nth(0))
    for number, (name, kind) in enumerate((("amount", "Money"), ("currency", "Choice")), 1):
        tab_to(page, page.get_by_role("button", name="Add a field"))
        page.keyboard.press("Enter")
        page.keyboard.type(name)  # the new row has the focus
        write(page, "Kind", kind, rows.nth(number))
    write(page, "Choices", "EUR\nUSD", rows.nth(2))
    write(page, "Title:", "Refund")
    write(page, "Summary:", "Refund ")
    insert = page.locator(".field-summary").get_by_role("button", name="Insert {amount|money:currency}")
    tab_to(page, insert)
    page.keyboard.press("Enter")
    page.keyboard.type(" for order ")
    tab_to(page, page.locator(".field-summary").get_by_role("button", name="Insert {order}"))
    page.keyboard.press("Enter")
    frame = page.frame_locator("#prompt-preview")
    expect(frame.get_by_role("heading", name="Refund EUR 120.00 for order Example")).to_be_visible()
    tab_to(page, page.get_by_role("button", name="Injected text"))
    page.keyboard.press("Enter")
    expect(frame.get_by_role("heading", level=1)).to_contain_text("<script>alert(1)</script>")
    tab_to(page, page.get_by_role("button", name="Save", exact=True))
    page.keyboard.press("Enter")
    expect(page.locator(".messagelist .success")).to_contain_text("refund-by-keyboard")
    listed = page.request.get("/v1/operation-types").json()
    schema = next(one for one in listed if one["type"] == "refund-by-keyboard")["schema"]
    assert schema["required"] == ["order", "amount", "currency"]
    assert schema["properties"]["currency"]["enum"] == ["EUR", "USD"]
    page.context.close()


def test_a_refund_without_javascript(browser: Browser, product: Product) -> None:
    page = administrator(browser, product, java_script_enabled=False)
    page.goto(ADD)
    page.get_by_label("Resource:").select_option(label="Demo API")
    page.get_by_label("Name:").fill("refund-without-javascript")
    page.locator("#id_schema-0-name").fill("order")
    page.get_by_label("Title:").fill("Refund")
    page.get_by_label("Summary:").fill("Refund order {order}")
    page.get_by_role("button", name="Preview").click()
    frame = page.frame_locator("#prompt-preview")
    expect(frame.get_by_role("heading", name="Refund order Example")).to_be_visible()
    assert page.url.endswith(ADD), "the form stays where it is"
    page.get_by_role("button", name="Save and continue editing").click()
    assert page.locator("#id_schema-0-name").input_value() == "order"
    page.locator("#id_schema-1-name").fill("reason")  # the spare row
    page.locator("input[name='schema-0-remove']").check()
    page.get_by_label("Summary:").fill("Refund for {reason}")
    page.get_by_role("button", name="Save and continue editing").click()
    assert page.locator("#id_schema-0-name").input_value() == "reason"
    page.context.close()


def test_an_import_on_a_phone_in_the_dark(browser: Browser, product: Product) -> None:
    page = administrator(browser, product, viewport={"width": 390, "height": 800}, color_scheme="dark", bypass_csp=True)
    page.goto("/admin/operations/operationtype/import/")
    schema = {"type": "object", "properties": {"order": {"type": "string"}}, "required": ["order"]}
    page.get_by_label("Document:").fill(json.dumps({"name": "refund", "inputSchema": schema}))
    page.get_by_role("button", name="Read the document").click()
    expect(page.get_by_role("heading", name="Imported from tool refund. Nothing is saved yet.")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    expect(page.frame_locator("#prompt-preview").get_by_role("heading", level=1)).to_be_visible()
    page.context.close()


@pytest.mark.parametrize(
    "path",
    [ADD, "/admin/credentials/backend/add/", "/admin/credentials/backend/add/?engine=redis",
     "/admin/operations/operationtype/import/", "/admin/clients/agent/add/"],
)  # fmt: skip
def test_the_new_inputs_have_names(browser: Browser, product: Product, path: str) -> None:
    """axe-core over our own inputs: names, roles, contrast and targets."""
    page = administrator(browser, product, viewport={"width": 390, "height": 800}, bypass_csp=True)
    page.goto(path)
    for details in page.locator("#content details").all():
        details.evaluate("element => { element.open = true }")
    ours = page.locator(".rows, .described, .keys, .choose-first, .import")
    assert ours.count()
    problems = check_parts(page, ".rows, .described, .keys, .choose-first, .import, .preview, .insertions")
    assert problems == []
    page.context.close()


def check_parts(page: Page, selector: str) -> list[str]:
    include = page.evaluate(
        """(selector) => [...document.querySelectorAll(selector)].map((element, number) => {
            element.dataset.axe = number;
            return `[data-axe='${number}']`;
        })""",
        selector,
    )
    context = {"include": [[one] for one in include]}
    found = Axe().run(page, context=context, options={"runOnly": EVERYTHING}).response["violations"]
    return [f"{one['id']}: {one['help']}: {[node['html'] for node in one['nodes'][:3]]}" for one in found]
