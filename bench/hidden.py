"""`make bench-hidden`: can the time of an answer tell whether a person is there? With CIBA_HIDE_UNKNOWN_USERS.

The real product; a person with five devices, and people who are not there, asked in turn by one agent. Reported is
how often an answer about the person took longer than one about nobody: 0.50 is chance, 1.00 tells with certainty.
"""

import argparse
import http.client
import itertools
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from product import FORM, Agent, percentiles, product, say

from tests.push_service import PushService

DEVICES = 5
MOST = 0.05  # away from chance


def enrol(email: str, service: PushService) -> None:
    from django.utils import timezone

    from accounts.models import User
    from devices import lifecycle
    from devices.subscriptions import parse_subscription
    from devices.vapid import current_key

    key = current_key()
    if key is None:
        raise SystemExit("the product has no VAPID key")
    for number in range(DEVICES):
        subscription = parse_subscription(service.new_browser().subscription())
        lifecycle.enrol(User.objects.get(email=email), subscription, f"Phone {number}", key, timezone.now())


def ask(web: http.client.HTTPConnection, agent: Agent, hint: str) -> float:
    """Milliseconds until the whole answer is there."""
    form = agent.form(scope="openid", login_hint=hint)
    began = time.perf_counter()
    web.request("POST", "/bc-authorize", form, {"Content-Type": FORM})
    response = web.getresponse()
    body = response.read()
    took = (time.perf_counter() - began) * 1000
    if response.status != 200:
        raise SystemExit(f"a request was refused: {body!r}")
    return took


def slower(some: list[float], others: list[float]) -> float:
    """How often one of `some` is more than one of `others` (Mann and Whitney's U as a share)."""
    pairs = itertools.product(some, others)
    return statistics.fmean((one > other) + (one == other) / 2 for one, other in pairs)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=300)
    rounds: int = parser.parse_args().rounds
    service = PushService()
    settings = {
        "CIBA_HIDE_UNKNOWN_USERS": "1", "CIBA_MAX_PENDING_PER_PERSON": "100000",
        "OUTBOUND_EXCEPTIONS": service.authority,
    }  # fmt: skip
    try:
        with product(**settings) as (url, _, _):
            import django

            django.setup()
            from accounts.models import User
            from clients.models import AgentLink

            email = "bench@example.com"
            agent = Agent("Prober")
            AgentLink.objects.create(agent=agent.row, user=User.objects.create(email=email), is_linked=True)
            enrol(email, service)
            web = http.client.HTTPConnection(url.removeprefix("http://"))
            somebody, nobody = [], []
            for number in range(rounds):
                somebody.append(ask(web, agent, email))
                nobody.append(ask(web, agent, f"nobody{number}@example.com"))
    finally:
        service.stop()
    share = slower(somebody, nobody)
    say(f"somebody: {percentiles(somebody)}; nobody: {percentiles(nobody)}")
    say(f"an answer about somebody took longer in {share:.3f} of all pairs (0.5 is chance)")
    return 0 if abs(share - 0.5) <= MOST else 1


if __name__ == "__main__":
    raise SystemExit(main())
