"""/devices: adding a browser needs the password again; nobody touches another user's devices."""

import json
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import User
from audit.models import Event
from devices import pages, vapid
from devices.lifecycle import open_subscription
from devices.models import Device, VapidKey
from devices.subscriptions import parse_subscription
from foundation.models import Work
from tests.devices.conftest import do_due_work, enrol
from tests.support.push_service import Browser, PushService
from tests.support.world import PASSWORD, sign_in

pytestmark = pytest.mark.django_db(transaction=True)


def add(browser: Client, subscription: Any, password: str = PASSWORD, name: str = "My phone", key: str = "") -> Any:
    text = subscription if isinstance(subscription, str) else json.dumps(subscription)
    form = {
        "name": name,
        "password": password,
        "subscription": text,
        "key": key or VapidKey.objects.latest("created_at").pk,
    }
    return browser.post("/devices", form)


@pytest.fixture
def fresh(push_service: PushService) -> Browser:
    return push_service.new_browser()


def test_adding_this_browser(user: User, vapid_key: VapidKey, fresh: Browser, browser_of_user: Client) -> None:
    response = add(browser_of_user, fresh.subscription())
    device = Device.objects.get()
    assert response["Location"] == f"/devices?added={device.id}"
    assert (device.user, device.name, device.vapid_key) == (user, "My phone", vapid_key)
    assert b"My phone" in browser_of_user.get("/devices").content
    assert Event.objects.get(kind="device.added").user_id == user.id


def test_the_other_devices_are_notified(
    user: User, vapid_key: VapidKey, device: Device, push_service: PushService, browser_of_user: Client
) -> None:
    add(browser_of_user, push_service.new_browser().subscription())
    assert do_due_work() == ["done"]
    (pushed,) = push_service.received
    assert pushed.message == {"kind": "device_added"}
    assert pushed.browser.endpoint == next(iter(push_service.browsers.values())).endpoint


class TestTheFreshSignIn:
    @pytest.mark.parametrize("password", ["", "wrong", PASSWORD + " "])
    def test_without_the_password_nothing_is_added(
        self, vapid_key: VapidKey, fresh: Browser, browser_of_user: Client, password: str
    ) -> None:
        assert add(browser_of_user, fresh.subscription(), password).status_code == 400
        assert not Device.objects.exists()

    def test_guessing_it_is_locked_out(self, vapid_key: VapidKey, fresh: Browser, browser_of_user: Client) -> None:
        for _ in range(5):
            add(browser_of_user, fresh.subscription(), "wrong")
        page = add(browser_of_user, fresh.subscription())
        assert page.status_code == 400 and b"Too many wrong passwords" in page.content

    def test_nobody_without_a_session(self, vapid_key: VapidKey, fresh: Browser) -> None:
        assert add(Client(), fresh.subscription()).status_code == 302
        assert not Device.objects.exists()

    def test_another_site_adds_nothing(self, user: User, vapid_key: VapidKey, fresh: Browser) -> None:
        browser = Client(enforce_csrf_checks=True)
        browser.cookies = sign_in(user).cookies
        assert add(browser, fresh.subscription()).status_code == 403


GOOD = Browser("https://push.example.com/x").subscription()


@pytest.mark.parametrize(
    "subscription",
    [
        "", "null", "[]", "{", "[" * 2000, '"x"', "{}",
        {"endpoint": GOOD["endpoint"]},
        {**GOOD, "endpoint": ""}, {**GOOD, "endpoint": 7}, {**GOOD, "endpoint": "https://x/" + "y" * 3000},
        {**GOOD, "endpoint": "https://münchen.example/"},
        {**GOOD, "keys": {}}, {**GOOD, "keys": {**GOOD["keys"], "auth": "AAAA"}},
        {**GOOD, "keys": {**GOOD["keys"], "p256dh": "AAAA"}},
        {**GOOD, "keys": {**GOOD["keys"], "p256dh": "BA" + "A" * 85}},
        {**GOOD, "keys": {"auth": 1, "p256dh": []}},
    ],
)  # fmt: skip
def test_what_is_no_subscription_is_a_form_error(
    vapid_key: VapidKey, browser_of_user: Client, subscription: Any
) -> None:
    assert add(browser_of_user, subscription).status_code == 400
    assert not Device.objects.exists()


def test_a_name_that_misleads_is_a_form_error(vapid_key: VapidKey, fresh: Browser, browser_of_user: Client) -> None:
    for name in ("", "x" * 61, "a\u202eb", "a\nb"):
        assert add(browser_of_user, fresh.subscription(), name=name).status_code == 400


def test_a_browser_belongs_to_one_user_at_a_time(
    user: User, stranger: User, vapid_key: VapidKey, fresh: Browser
) -> None:
    """Who signs in and enrols on a shared computer takes it over: prompts of the one before stop there."""
    add(sign_in(user), fresh.subscription())
    add(sign_in(stranger), fresh.subscription())
    assert Device.objects.get(removed_at=None).user == stranger
    assert Device.objects.filter(user=user, removed_at__isnull=False).count() == 1


def test_the_key_is_the_one_that_the_browser_subscribed_under(
    vapid_key: VapidKey, fresh: Browser, browser_of_user: Client
) -> None:
    """It may have been rotated since the page was loaded; a push service refuses any other."""
    vapid.make_key(timezone.now())
    add(browser_of_user, fresh.subscription(), key=vapid_key.pk)
    assert Device.objects.get().vapid_key == vapid_key
    page = add(browser_of_user, fresh.subscription(), key="B" * 87)
    assert page.status_code == 400 and b"out of date" in page.content


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://push.example.com/x", "https://evilfcm.googleapis.com.example/x", "https://push.apple.com/x",
        "http://fcm.googleapis.com/x", "https://fcm.googleapis.com:22/x", "https://127.0.0.1/x",
        "https://fcm.googleapis.com@127.0.0.1/x", "file:///etc/passwd", "javascript:1",
    ],
)  # fmt: skip
def test_only_known_push_services(vapid_key: VapidKey, browser_of_user: Client, endpoint: str) -> None:
    page = add(browser_of_user, Browser(endpoint).subscription())
    assert page.status_code == 400 and b"Countersign cannot add this browser" in page.content
    assert not Device.objects.exists()


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://fcm.googleapis.com/fcm/send/x",
        "https://web.push.apple.com/x",
        "https://wns2-am3p.notify.windows.com/w/?t=1",
    ],
)
def test_which_are_known(vapid_key: VapidKey, browser_of_user: Client, endpoint: str) -> None:
    assert add(browser_of_user, Browser(endpoint).subscription()).status_code == 302


def test_an_administrator_may_know_others(vapid_key: VapidKey, browser_of_user: Client, settings: Any) -> None:
    settings.PUSH_SERVICES = ["*"]
    assert add(browser_of_user, Browser("https://push.example.com/x").subscription()).status_code == 302


def test_nobody_has_more_than_twenty(
    user: User, push_service: PushService, vapid_key: VapidKey, browser_of_user: Client
) -> None:
    for number in range(20):
        enrol(user, push_service, vapid_key, f"Device {number}")
    page = add(browser_of_user, push_service.new_browser().subscription())
    assert page.status_code == 400 and b"which is the limit" in page.content


class TestOthersDevices:
    @pytest.mark.parametrize("act", ["name", "test", "remove", "renew"])
    def test_are_unknown(self, device: Device, stranger: User, push_service: PushService, act: str) -> None:
        old = next(iter(push_service.browsers.values())).endpoint
        new = json.dumps(push_service.new_browser().subscription())
        form = {"name": "Mine", "old_endpoint": old, "subscription": new, "key": device.vapid_key_id}
        assert sign_in(stranger).post(f"/devices/{device.id}/{act}", form).status_code == 404
        assert Client().post(f"/devices/{device.id}/{act}", form).status_code == 302
        device.refresh_from_db()
        assert device.name == "Phone" and device.removed_at is None
        assert not Work.objects.exists()
        assert b"Phone" not in sign_in(stranger).get("/devices").content


def test_rename_test_and_remove(device: Device, push_service: PushService, browser_of_user: Client) -> None:
    browser_of_user.post(f"/devices/{device.id}/name", {"name": "Old phone"})
    device.refresh_from_db()
    assert device.name == "Old phone"
    browser_of_user.post(f"/devices/{device.id}/test")
    assert do_due_work() == ["done"]
    assert push_service.received[0].message == {"kind": "test"}
    browser_of_user.post(f"/devices/{device.id}/remove")
    device.refresh_from_db()
    assert device.removed_at is not None
    assert device.sealed_subscription is None and device.endpoint_digest is None
    for act in ("name", "test", "remove"):
        assert browser_of_user.post(f"/devices/{device.id}/{act}", {"name": "x"}).status_code == 404
    for act in ("name", "test", "remove", "renew"):
        assert browser_of_user.get(f"/devices/{device.id}/{act}").status_code == 405


class TestRenewing:
    def renew(self, browser: Client, device: Device, old: str, new: Browser) -> Any:
        key = VapidKey.objects.latest("created_at").pk
        form = {"old_endpoint": old, "subscription": json.dumps(new.subscription()), "key": key}
        return browser.post(f"/devices/{device.id}/renew", form)

    def test_the_same_browser_with_a_new_subscription(
        self, user: User, device: Device, push_service: PushService, browser_of_user: Client
    ) -> None:
        old, new = next(iter(push_service.browsers.values())), push_service.new_browser()
        key = vapid.make_key(timezone.now())
        assert self.renew(browser_of_user, device, old.endpoint, new).status_code == 200
        device.refresh_from_db()
        assert device.vapid_key == key
        browser_of_user.post(f"/devices/{device.id}/test")
        do_due_work()
        assert push_service.received[0].browser is new

    def test_who_does_not_know_the_old_address_is_not_the_same_browser(
        self, device: Device, push_service: PushService, browser_of_user: Client
    ) -> None:
        """A stolen session alone leads no prompts elsewhere."""
        for guess in ("https://push.example.com/x", str(device.id), "x"):
            response = self.renew(browser_of_user, device, guess, push_service.new_browser())
            assert response.status_code == 404

    def test_nor_is_one_that_another_device_has(
        self, stranger: User, device: Device, push_service: PushService, vapid_key: VapidKey, browser_of_user: Client
    ) -> None:
        old = next(iter(push_service.browsers.values()))
        enrol(stranger, push_service, vapid_key)
        taken = list(push_service.browsers.values())[1]
        assert self.renew(browser_of_user, device, old.endpoint, taken).status_code == 404


def test_a_subscription_is_read_back_as_it_came(device: Device, push_service: PushService) -> None:
    (browser,) = push_service.browsers.values()
    assert open_subscription(device) == parse_subscription(browser.subscription())


class TestTheApp:
    def test_the_files_at_the_root(self) -> None:
        worker = Client().get("/sw.js")
        assert worker["Content-Type"].startswith("text/javascript") and worker["Cache-Control"] == "no-cache"
        manifest = Client().get("/manifest.webmanifest")
        assert manifest.json()["start_url"] == "/"
        for icon in manifest.json()["icons"]:
            response = Client().get(icon["src"])
            assert response.status_code == 200 and b"".join(response.streaming_content).startswith(b"\x89PNG")
            response.close()
        assert b"You are offline" in Client().get("/offline").content

    def test_what_the_worker_keeps_is_replaced_when_it_changes(
        self, browser_of_user: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Browsers install a worker again only where its bytes have changed."""
        before = Client().get("/sw.js").content
        assert browser_of_user.get("/sw.js").content == before, "the same for everybody"
        monkeypatch.setattr(pages, "_static_file", lambda name: b"another release")
        assert Client().get("/sw.js").content != before

    def test_the_offline_page_is_nobodys(self, browser_of_user: Client, user: User) -> None:
        page = browser_of_user.get("/offline").content.decode()
        assert user.email not in page and user.name not in page

    def test_a_qr_code_only_where_a_phone_can_come(self, browser_of_user: Client, settings: Any) -> None:
        assert b"QR code" not in browser_of_user.get("/devices").content
        settings.ISSUER_IS_HTTPS, settings.ISSUER_URL = True, "https://auth.example.com"
        assert b"QR code of https://auth.example.com" in browser_of_user.get("/devices").content


@pytest.mark.parametrize(
    ("endpoint", "is_known"),
    [
        pytest.param("https://jmt17.google.com/fcm/send/abc:APA91b-_x", True, id="Debian's Chromium"),
        pytest.param("https://a.b.google.com/fcm/send/abc", True, id="a host further below"),
        pytest.param("https://jmt17.google.com/fcm/send/abc?x=1", True, id="with a query"),
        pytest.param("https://google.com/fcm/send/abc", False, id="the domain itself"),
        pytest.param("https://jmt17.google.com/", False, id="another path"),
        pytest.param("https://sites.google.com/view/evil", False, id="somebody's own pages there"),
        pytest.param("https://script.google.com/macros/fcm/send/", False, id="the path further in"),
        pytest.param("https://jmt17.google.com/fcm/sender/abc", False, id="a path that begins alike"),
        pytest.param("https://jmt17.google.com/fcm/send/../../macros/x", False, id="a path that goes up"),
        pytest.param("https://jmt17.google.com/fcm/send/%2e%2e/%2e%2e/x", False, id="up in percent-encoding"),
        pytest.param("https://jmt17.google.com/fcm/send/..%2f..%2fx", False, id="up with encoded slashes"),
        pytest.param("https://jmt17.google.com/fcm/send/..;/x", False, id="up with a path parameter"),
        pytest.param("https://jmt17.google.com/fcm/send//x", False, id="an empty part"),
        pytest.param("https://jmt17.google.com//fcm/send/x", False, id="an empty part before"),
        pytest.param("https://jmt17.google.com/FCM/SEND/x", False, id="in capitals"),
        pytest.param("https://evilgoogle.com/fcm/send/x", False, id="a domain that ends alike"),
        pytest.param("https://jmt17.google.com.example/fcm/send/x", False, id="a domain that begins alike"),
        pytest.param("https://example.com/.google.com/fcm/send/x", False, id="the host in the path"),
    ],
)
def test_a_service_with_a_path_is_known_there_only(
    vapid_key: VapidKey, browser_of_user: Client, endpoint: str, is_known: bool
) -> None:
    answer = add(browser_of_user, Browser(endpoint).subscription())
    assert answer.status_code == (302 if is_known else 400)
    assert Device.objects.exists() is is_known
