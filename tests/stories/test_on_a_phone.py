"""A prompt reaches a phone: Celery sends, a real service worker shows it, a click opens it, a yes counts."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, CDPSession, Page, expect

from tests.patience import PATIENCE
from tests.stories.conftest import ROOT, Product
from tests.stories.test_first_five_minutes import sign_in
from tests.support.push_service import PushService


@pytest.fixture
def phone(browser: Browser, product: Product, push_service: PushService) -> Iterator[BrowserContext]:
    """Chromium here has no push service of its own: subscribing gives one at ours, with real keys."""
    context = browser.new_context(viewport={"width": 360, "height": 740}, base_url=product.url)
    context.grant_permissions(["notifications"], origin=product.url)
    subscription = json.dumps(push_service.new_browser().subscription())
    context.add_init_script(f"PushManager.prototype.subscribe = async () => ({subscription});")
    yield context
    context.close()


@contextmanager
def no_sweeper(product: Product) -> Iterator[None]:
    """The sweeper stands still: what is sent now, Celery's worker has sent."""
    assert product.process is not None
    children = Path(f"/proc/{product.process.pid}/task/{product.process.pid}/children").read_text().split()
    (sweeper,) = (int(pid) for pid in children if b"sweeper" in Path(f"/proc/{pid}/cmdline").read_bytes())
    os.kill(sweeper, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(sweeper, signal.SIGCONT)


# In the service worker: counts the notifications that stand.
COUNT_NOTIFICATIONS = """() => {
    if (self.countShown === undefined) {
        self.countShown = 0;
        const show = ServiceWorkerRegistration.prototype.showNotification;
        ServiceWorkerRegistration.prototype.showNotification = async function (...all) {
            await show.apply(this, all);
            self.countShown += 1;
        };
    }
    return self.countShown;
}"""


class Worker:
    """The page's service worker, by the browser's own debugging protocol."""

    def __init__(self, page: Page, origin: str) -> None:
        self.page, self.origin = page, origin
        self.cdp: CDPSession = page.context.new_cdp_session(page)
        self.registrations: list[str] = []
        self.cdp.on("ServiceWorker.workerRegistrationUpdated", self._note)
        self.cdp.send("ServiceWorker.enable")

    def _note(self, event: dict[str, Any]) -> None:
        self.registrations += [one["registrationId"] for one in event["registrations"]]

    def deliver(self, message: Any) -> None:
        """As the browser does with a push that it has decrypted; until its notification stands.

        Nobody may ask for notifications before: Chromium forgets one that is written down and not on the screen yet.
        """
        self.page.evaluate("navigator.serviceWorker.ready.then(() => true)")
        assert self.registrations
        (worker,) = self.page.context.service_workers
        before = worker.evaluate(COUNT_NOTIFICATIONS)
        self.cdp.send(
            "ServiceWorker.deliverPushMessage",
            {"origin": self.origin + "/", "registrationId": self.registrations[0], "data": json.dumps(message)},
        )
        for _ in range(100):
            if worker.evaluate("self.countShown") > before:
                return
            self.page.wait_for_timeout(50)
        pytest.fail(f"{message} made the service worker show nothing")

    def content(self) -> list[dict[str, Any]]:
        """The notifications that stand now."""
        script = """async () => (await (await navigator.serviceWorker.ready).getNotifications())
            .map(({ title, body, tag, data, actions }) => ({ title, body, tag, data, actions }))"""
        return list(self.page.evaluate(script))

    def find(self, title: str) -> dict[str, Any]:
        (found,) = [one for one in self.content() if one["title"] == title]
        return found

    def click(self, tag: str) -> None:
        (worker,) = self.page.context.service_workers
        script = """async (tag) => {
            const [notification] = await self.registration.getNotifications({ tag });
            self.dispatchEvent(new NotificationEvent("notificationclick", { notification }));
        }"""
        worker.evaluate(script, tag)


def test_from_asking_to_the_token(phone: BrowserContext, product: Product, push_service: PushService) -> None:
    page = phone.new_page()
    sign_in(page, product)
    page.goto("/devices")
    worker = Worker(page, product.url)
    adding = page.get_by_role("region", name="Add this browser")
    adding.get_by_label("Name of this device").fill("Phone of the story")
    adding.get_by_label("Your password").fill(product.password)
    adding.get_by_role("button", name="Add this browser").click()
    expect(page.get_by_role("heading", name="Phone of the story")).to_be_visible()
    expect(page.get_by_text("This browser is one of your devices.")).to_be_visible()
    public_key = page.locator("#add").get_attribute("data-public-key")

    with subprocess.Popen(
        [sys.executable, ROOT / "examples" / "agent.py", "payment"],
        env=product.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as requesting:  # fmt: skip
        with no_sweeper(product):
            pushed = push_service.wait_for(1)[0]
        assert pushed.message["kind"] == "prompt"
        # The service has verified the signature; it is ours, and for this service alone.
        assert pushed.vapid_key == public_key and pushed.claims["aud"] == f"http://{push_service.authority}"
        worker.deliver(pushed.message)
        notification = worker.find("An agent waits for your answer")
        assert not notification["actions"], "nothing on it answers"
        assert "Acme" not in json.dumps(notification) and "120" not in notification["body"]

        worker.click(notification["tag"])
        page.wait_for_url(f"**/prompts/{pushed.message['prompt']}")
        expect(page.get_by_role("heading", level=1)).to_have_text("Pay EUR 120.00 to Acme Office Supplies")
        page.get_by_role("button", name="Approve").click()
        expect(page.get_by_role("heading", name="You approved this")).to_be_visible()
        output, _ = requesting.communicate(timeout=PATIENCE)
        assert requesting.returncode == 0 and "paid, receipt" in output, output

    answered = push_service.wait_for(2)[1]
    assert answered.message == {"kind": "answered", "prompt": pushed.message["prompt"]}
    worker.deliver(pushed.message)
    worker.find("An agent waits for your answer")
    worker.deliver(answered.message)
    worker.find("Already answered")
    assert len(worker.content()) == 1, "one takes the place of the other"

    page.goto("/devices")
    expect(page.get_by_text("Last reached")).to_be_visible()
    page.get_by_role("button", name="Send a test").click()
    assert push_service.wait_for(3)[2].message == {"kind": "test"}

    # The key is rotated; the browser subscribes again under the new one when its user next opens a page.
    rotate = [sys.executable, ROOT / "manage.py", "rotate_push_key"]
    subprocess.run(rotate, env=product.environment, check=True, capture_output=True)
    with page.expect_response("**/renew") as renewed:
        page.goto("/devices")
    assert renewed.value.status == 200
    assert page.locator("#add").get_attribute("data-public-key") != public_key
    page.get_by_role("button", name="Send a test").click()
    assert push_service.wait_for(4)[3].vapid_key == page.locator("#add").get_attribute("data-public-key")


def test_without_a_network_the_app_says_so_and_keeps_nothing_personal(phone: BrowserContext, product: Product) -> None:
    page = phone.new_page()
    sign_in(page, product)
    page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    page.reload()
    phone.set_offline(True)
    page.goto("/activity")
    expect(page.get_by_role("heading", level=1)).to_have_text("You are offline")
    phone.set_offline(False)
    stored = page.evaluate(
        """async () => {
            const found = [];
            for (const name of await caches.keys())
                for (const request of await (await caches.open(name)).keys())
                    found.push(new URL(request.url).pathname + " " + await (await caches.match(request)).text());
            return found;
        }"""
    )
    assert len(stored) == 3
    assert not any("demo@example.com" in text or "Demo User" in text for text in stored)
