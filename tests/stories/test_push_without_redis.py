"""Redis is down from beginning to end: the sweeper sends what Celery does not learn of, and the flow completes."""

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from runtime.postgres import delete_cluster
from runtime.processes import free_port
from tests.patience import PATIENCE
from tests.stories.conftest import Product, free_port_pair
from tests.support.public_clients import SignedIn, example_agent
from tests.support.push_service import PushService

PAYMENT = {
    "type": "payment", "currency": "EUR", "creditor_name": "Acme", "creditor_iban": "DE89370400440532013000",
}  # fmt: skip
CIBA = "urn:openid:params:grant-type:ciba"


@pytest.fixture
def product(push_service: PushService) -> Iterator[Product]:
    folder = Path(tempfile.mkdtemp(prefix="countersign-no-redis-"))
    extra = {
        "OUTBOUND_EXCEPTIONS": push_service.authority, "REDIS_URL": f"redis://127.0.0.1:{free_port()}/0",
        "CIBA_POLL_INTERVAL": "1",
    }  # fmt: skip
    running = Product(folder / "data", free_port_pair(), extra=extra)
    try:
        running.start()
        yield running
    finally:
        running.stop()
        delete_cluster(running.data_dir)
        shutil.rmtree(folder)


def test_the_push_leaves_all_the_same(product: Product, push_service: PushService) -> None:
    with httpx.Client(base_url=product.url, timeout=PATIENCE) as browser, httpx.Client(timeout=PATIENCE) as http:
        user, agent = SignedIn(browser, product.password), example_agent(product.data_dir, http)
        user.enrol(push_service.new_browser())
        for number in range(3):
            before = len(push_service.received)
            sent = agent.ask({**PAYMENT, "amount": f"{number + 1}.00"}, "Without Redis")
            pushed = push_service.wait_for(before + 1)[before]
            prompt = json.loads(user.http.get(f"/v1/prompts/{pushed.message['prompt']}").text)
            assert user.post(f"/v1/prompts/{prompt['id']}/approve").status_code == 200
            time.sleep(1.1)
            status, answer = agent.post("token_endpoint", grant_type=CIBA, auth_req_id=sent["auth_req_id"])
            assert status == 200 and answer["access_token"], answer
            push_service.wait_for(before + 2)  # "Already answered"
        assert http.get(f"{product.url}/readyz").json()["redis"].startswith("unreachable")
