"""How long after an agent's request has the push service got the push? `make bench-push`.

The real product with its own servers, a push service on loopback that decrypts. Times run from the moment that
the request is stamped with, before its commit, so that they are an upper bound of commit to push service.
"""

import json
import shutil
import statistics
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from runtime.postgres import delete_cluster
from tests.stories.conftest import Product, free_port_pair
from tests.support.public_clients import SignedIn, example_agent
from tests.support.push_service import PushService

WARM_UP, REQUESTS = 10, 100
PAYMENT = {
    "type": "payment", "currency": "EUR", "creditor_name": "Acme", "creditor_iban": "DE89370400440532013000",
}  # fmt: skip
PAUSE = 0.1  # seconds between requests
MAX = 0.150  # seconds: the median must be below


class TimingService(PushService):
    """Notes when each prompt's push was there."""

    def __init__(self) -> None:
        self.arrivals: dict[str, float] = {}
        super().__init__()

    def take(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str]]:
        at = time.time()
        answer = super().take(path, headers, body)
        message = self.browsers[path].decrypt(body)
        if message["kind"] == "prompt":
            self.arrivals[message["prompt"]] = at
        return answer


def main() -> int:
    folder, service = Path(tempfile.mkdtemp(prefix="countersign-bench-")), TimingService()
    extra = {"OUTBOUND_EXCEPTIONS": service.authority, "CIBA_MAX_PENDING_PER_USER": "1000"}
    product = Product(folder / "data", free_port_pair(), extra=extra)
    try:
        product.start()
        took = measure(product, service)
    finally:
        product.stop()
        service.stop()
        delete_cluster(product.data_dir)
        shutil.rmtree(folder)
    median, worst = statistics.median(took), sorted(took)[int(len(took) * 0.95)]
    print(f"{len(took)} pushes: median {median * 1000:.0f} ms, 95th percentile {worst * 1000:.0f} ms")  # noqa: T201
    return 0 if median < MAX else 1


def measure(product: Product, service: TimingService) -> list[float]:
    with httpx.Client(base_url=product.url, timeout=10) as browser, httpx.Client(timeout=10) as http:
        user, agent = SignedIn(browser, product.password), example_agent(product.data_dir, http)
        user.enrol(service.new_browser())
        for number in range(WARM_UP):  # the worker may still be starting
            agent.ask(PAYMENT | {"amount": f"{number + 1}.00"}, "Warm-up")
            service.wait_for(number + 1)
        for number in range(REQUESTS):
            agent.ask(PAYMENT | {"amount": f"{number + 100}.00"}, "Bench")
            time.sleep(PAUSE)
        service.wait_for(WARM_UP + REQUESTS)
        prompts = json.loads(user.http.get("/v1/prompts").text)["prompts"]
    sent = {prompt["id"]: _seconds(prompt["created_at"]) for prompt in prompts}
    took = [(at, service.arrivals[prompt] - at) for prompt, at in sent.items()]
    return [seconds for _, seconds in sorted(took)[WARM_UP:]]


def _seconds(iso: str) -> float:
    return datetime.fromisoformat(iso).timestamp()


if __name__ == "__main__":
    sys.exit(main())
