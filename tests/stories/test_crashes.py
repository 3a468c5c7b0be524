"""kill -9 of everything at random moments during hundreds of requests: what is owed is done, once; nothing waits.

PostgreSQL runs durable here, as in production. The moments come from a seed, which a failure names.
"""

import copy
import json
import os
import queue
import shutil
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.rows import dict_row

from runtime.postgres import delete_cluster
from tests.patience import PATIENCE
from tests.stories.conftest import ROOT, Product, free_port_pair
from tests.support import budget
from tests.support.budget import rounds
from tests.support.public_clients import SignedIn, example_agent
from tests.support.push_service import PushService

pytestmark = pytest.mark.soak

FLOWS = rounds(300, 5000)
AT_ONCE = 40
KILLS_EACH = rounds(3, 40)
LIFETIME = 40  # seconds of a request; half of them to answer
CIBA = "urn:openid:params:grant-type:ciba"
PAYMENT = {"currency": "EUR", "creditor_name": "Acme Office Supplies", "creditor_iban": "DE89370400440532013000"}
TARGETS = {"web": b"granian", "worker": b"celery", "sweeper": b"sweeper", "postgres": b"postgres", "redis": b"redis"}


@dataclass
class Delivery:
    """One push that the service took, and when."""

    prompt: str
    kind: str
    at: float


class UnsteadyPushService(PushService):
    """One in twenty pushes is answered 503."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []
        self.to_answer: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.chance = budget.chance("service")
        super().__init__()

    def take(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str]]:
        if self.chance.random() < 0.05:
            return 503, {}
        answer = super().take(path, headers, body)
        if answer[0] == 201:
            message = self.browsers[path].decrypt(body)
            self.deliveries.append(Delivery(message.get("prompt", ""), message["kind"], time.time()))
            if message["kind"] == "prompt":
                self.to_answer.put(message["prompt"])
        return answer


class Phone(SignedIn):
    """Told by push, it answers; it tries again where nobody takes the answer."""

    def __init__(self, http: httpx.Client, password: str, push_service: UnsteadyPushService) -> None:
        super().__init__(http, password)
        self.push_service = push_service
        self.stop = threading.Event()

    def answer_all(self) -> None:
        while not self.stop.is_set():
            try:
                prompt = self.push_service.to_answer.get(timeout=0.2)
            except queue.Empty:
                continue
            chance = budget.chance(prompt).random()
            if chance < 0.93:
                self.answer(prompt, "approve" if chance < 0.75 else "deny")

    def answer(self, prompt: str, how: str) -> None:
        give_up = time.monotonic() + PATIENCE
        while time.monotonic() < give_up:
            try:
                response = self.post(f"/v1/prompts/{prompt}/{how}")
            except httpx.HTTPError:
                time.sleep(0.2)
                continue
            if response.status_code < 500:
                assert response.status_code in (200, 409), response.text
                return
            time.sleep(0.2)
        pytest.fail(f"prompt {prompt} could not be answered")


class Crew:
    """The agent's many tasks at once. One answer in ten it does not wait for: lost on the wire, as far as it knows."""

    def __init__(self, product: Product, http: httpx.Client, hasty: httpx.Client) -> None:
        self.agent = example_agent(product.data_dir, http)
        self.hasty = copy.copy(self.agent)
        self.hasty.http = hasty

    def post(self, endpoint: str, *, hastily: bool = False, **form: str) -> tuple[int, dict[str, Any]]:
        """(0, {}) where the answer was lost, whatever became of the request."""
        try:
            return (self.hasty if hastily else self.agent).post(endpoint, **form)  # type: ignore[no-any-return]
        except (httpx.HTTPError, ValueError):
            return 0, {}

    def ask(self, number: int) -> str:
        details = [{"type": "payment", **PAYMENT, "amount": f"{number + 1}.00"}]
        give_up = time.monotonic() + PATIENCE
        while time.monotonic() < give_up:
            status, answer = self.post(
                "backchannel_authentication_endpoint", scope="openid", login_hint="demo@example.com",
                authorization_details=json.dumps(details), binding_message=f"Task {number}",
            )  # fmt: skip
            if status == 200:
                return str(answer["auth_req_id"])
            assert status in (0, 500, 502, 503), (status, answer)
            time.sleep(0.2)
        pytest.fail("nobody took the request")

    def flow(self, number: int) -> str:
        """How it ended for the agent."""
        chance = budget.chance(f"flow {number}")
        time.sleep(chance.uniform(0, 2))
        auth_req_id, lost = self.ask(number), False
        if chance.random() < 0.05:
            return "left alone"
        give_up = time.monotonic() + LIFETIME + PATIENCE
        while time.monotonic() < give_up:
            time.sleep(1.2)
            hastily = chance.random() < 0.1
            status, answer = self.post("token_endpoint", hastily=hastily, grant_type=CIBA, auth_req_id=auth_req_id)
            error = answer.get("error")
            if status == 200:
                return "token"
            if status in (0, 500, 502, 503):
                lost = True
            elif error in ("access_denied", "expired_token"):
                return str(error)
            elif error == "invalid_grant":
                assert lost, "the id is used, and no answer was lost"
                return "answer lost"
            elif error == "slow_down":
                time.sleep(5)
            else:
                assert error == "authorization_pending", answer
        pytest.fail("it waits for ever")


@dataclass
class Killer:
    """kill -9, each target a few times, in an order and at moments that the seed gives."""

    product: Product
    killed: Counter[str] = field(default_factory=Counter)

    def run(self) -> None:
        chance = budget.chance("killer")
        plan = [name for name in TARGETS for _ in range(KILLS_EACH)]
        chance.shuffle(plan)
        for name in plan:
            time.sleep(chance.uniform(0.7, 2.7))
            pid = self.find(name)
            if pid:
                os.kill(pid, signal.SIGKILL)
                self.killed[name] += 1

    def find(self, name: str) -> int | None:
        """The supervisor's child; None while it is between two lives."""
        assert self.product.process is not None
        supervisor = self.product.process.pid
        for pid in map(int, Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()):
            try:
                command = Path(f"/proc/{pid}/cmdline").read_bytes()
            except FileNotFoundError:
                continue
            if TARGETS[name] in command.replace(str(ROOT).encode(), b""):
                return pid
        return None


@pytest.fixture
def push_service() -> Iterator[UnsteadyPushService]:
    service = UnsteadyPushService()
    yield service
    service.stop()


@pytest.fixture
def product(push_service: UnsteadyPushService) -> Iterator[Product]:
    folder = Path(tempfile.mkdtemp(prefix="countersign-crashes-"))
    extra = {
        "OUTBOUND_EXCEPTIONS": push_service.authority, "CIBA_REQUEST_LIFETIME": str(LIFETIME),
        "CIBA_POLL_INTERVAL": "1", "CIBA_MAX_PENDING_PER_USER": "1000",
    }  # fmt: skip
    running = Product(folder / "data", free_port_pair(), extra=extra)
    try:
        running.start()
        yield running
    finally:
        running.stop()
        delete_cluster(running.data_dir)
        shutil.rmtree(folder)


def rows(product: Product, query: str) -> list[dict[str, Any]]:
    lines = (product.data_dir / "run.env").read_text().splitlines()
    url = next(line.partition("=")[2] for line in lines if line.startswith("DATABASE_URL="))
    with psycopg.connect(url, row_factory=dict_row) as connection:
        return connection.execute(query).fetchall()  # type: ignore[arg-type]


def wait_until_settled(product: Product) -> None:
    query = """SELECT (SELECT count(*) FROM foundation_work WHERE state = 'pending') AS pending,
                      (SELECT count(*) FROM ciba_backchannelrequest WHERE state IN ('pending', 'approved')) AS open"""
    give_up = time.monotonic() + PATIENCE
    while True:
        try:
            (left,) = rows(product, query)
        except psycopg.OperationalError:
            left = {"pending": -1, "open": -1}
        if not any(left.values()):
            return
        assert time.monotonic() < give_up, f"something waits for ever: {left}"
        time.sleep(0.5)


def test_nothing_is_lost_and_nothing_happens_twice(product: Product, push_service: UnsteadyPushService) -> None:
    with (
        httpx.Client(base_url=product.url, timeout=10) as browser,
        httpx.Client(timeout=10) as http,
        httpx.Client(timeout=httpx.Timeout(10, read=0.001)) as hasty,
    ):
        phone = Phone(browser, product.password, push_service)
        phone.enrol(push_service.new_browser())
        ended = run(phone, Crew(product, http, hasty), Killer(product))
    wait_until_settled(product)
    assert ended["token"] > FLOWS / 3, ended
    check_requests(product, ended)
    check_pushes(product, push_service)


def run(phone: Phone, crew: Crew, killer: Killer) -> Counter[str]:
    with ThreadPoolExecutor(AT_ONCE) as agents, ThreadPoolExecutor(6) as users, ThreadPoolExecutor(1) as killing:
        answering = [users.submit(phone.answer_all) for _ in range(6)]
        kills = killing.submit(killer.run)
        ended = Counter(agents.map(crew.flow, range(FLOWS)))
        kills.result()
        assert ended["answer lost"], "no answer was lost; this shows nothing of it"
        # Whose answer was lost asks again.
        again = Counter(agents.map(crew.flow, range(FLOWS, FLOWS + ended["answer lost"])))
        assert again["token"], again
        phone.stop.set()
        for one in answering:
            one.result()
    print(f"\n{dict(ended)}, again {dict(again)}; killed {dict(killer.killed)}")  # noqa: T201
    assert all(killer.killed[name] >= 2 for name in TARGETS), killer.killed
    return ended + again


def check_requests(product: Product, ended: Counter[str]) -> None:
    """Each is in one terminal state, once; who lost an answer has an approval that nobody used."""
    terminal = "('request.redeemed', 'request.denied', 'request.expired', 'request.cancelled', 'request.revoked')"
    found = rows(product, f"""
        SELECT r.state, r.uses, g.uses_left,
               (SELECT count(*) FROM audit_event e WHERE e.request_id = r.id AND e.kind IN {terminal}) AS ends,
               (SELECT count(*) FROM audit_event e WHERE e.request_id = r.id AND e.kind = 'token.issued') AS tokens
        FROM ciba_backchannelrequest r LEFT JOIN oauth_grant g ON g.id = r.grant_id""")  # noqa: S608  # fmt: skip
    assert len(found) >= FLOWS
    for request in found:
        assert request["state"] in ("redeemed", "denied", "expired"), request
        assert request["ends"] == 1 and request["tokens"] == (request["state"] == "redeemed"), request
        if request["state"] == "redeemed":
            assert request["uses_left"] == request["uses"] == 1, "redeemed, and not used"
    states = Counter(request["state"] for request in found)
    assert states["redeemed"] >= ended["token"] + ended["answer lost"]


def check_pushes(product: Product, push_service: UnsteadyPushService) -> None:
    """Every one was sent, or need not be sent, or its deadline passed; none after its success was on the record."""
    due = rows(product, "SELECT * FROM foundation_work WHERE kind = 'push' AND about LIKE 'prompt:%'")
    assert len(due) >= FLOWS
    delivered: dict[tuple[str, str], list[float]] = {}
    for delivery in push_service.deliveries:
        delivered.setdefault((delivery.prompt, delivery.kind), []).append(delivery.at)
    for work in due:
        message = work["payload"]["message"]
        times = delivered.get((message["prompt"], message["kind"]), [])
        finished = work["finished_at"].timestamp()
        if work["state"] == "done":
            assert times, f"recorded as sent, and never sent: {work}"
            assert max(times) <= finished, f"sent again after its success was recorded: {work}, {times}"
        elif work["state"] == "abandoned":
            assert finished >= work["deadline_at"].timestamp() - 90, f"given up too early: {work}"
        else:
            assert work["state"] == "withdrawn", work
    assert Counter(work["state"] for work in due)["done"] > FLOWS / 2
