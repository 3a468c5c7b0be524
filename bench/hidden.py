"""`make bench-hidden`: can the time of an answer reveal whether a user exists? With CIBA_HIDE_UNKNOWN_USERS.

The real product; a user with five devices, and unknown users, asked in turn by one agent: one request
after the other, and twenty at once, which adds up what a single one hides. Reported is how often an answer about the
user took longer than one about an unknown user: 0.50 is chance, 1.00 tells with certainty.
"""

import argparse
import http.client
import itertools
import json
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from product import FORM, Agent, percentiles, product, say

from tests.support.push_service import PushService

DEVICES = 5
AT_ONCE = 20  # as many as may wait for one user by default
CALM = 0.5  # seconds between two volleys
MAX = 0.05  # away from chance
MAX_AT_ONCE = 0.15  # there are fewer volleys


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


def post(web: http.client.HTTPConnection, path: str, form: bytes) -> tuple[float, bytes]:
    """Milliseconds until the whole answer is there, and the answer."""
    began = time.perf_counter()
    web.request("POST", path, form, {"Content-Type": FORM})
    response = web.getresponse()
    body = response.read()
    took = (time.perf_counter() - began) * 1000
    if response.status != 200:
        raise SystemExit(f"a request was refused: {body!r}")
    return took, body


def ask(web: http.client.HTTPConnection, agent: Agent, hint: str) -> float:
    return post(web, "/bc-authorize", agent.form(scope="openid", login_hint=hint))[0]


class Volley:
    """Requests at once, cancelled at once afterwards."""

    def __init__(self, address: str, agent: Agent) -> None:
        self.agent = agent
        self.webs = [http.client.HTTPConnection(address) for _ in range(AT_ONCE)]
        self.threads = ThreadPoolExecutor(AT_ONCE)

    def __call__(self, hint: str) -> tuple[float, float]:
        """Milliseconds until the last was answered, and then until the last was cancelled."""
        forms = [self.agent.form(scope="openid", login_hint=hint) for _ in self.webs]
        sent = list(self.threads.map(post, self.webs, itertools.repeat("/bc-authorize"), forms))
        time.sleep(CALM)
        forms = [self.agent.form(token=json.loads(body)["auth_req_id"]) for _, body in sent]
        cancelled = list(self.threads.map(post, self.webs, itertools.repeat("/oauth/revoke"), forms))
        time.sleep(CALM)
        return max(took for took, _ in sent), max(took for took, _ in cancelled)


def slower(some: list[float], others: list[float]) -> float:
    """How often one of `some` is more than one of `others` (Mann and Whitney's U as a share)."""
    pairs = itertools.product(some, others)
    return statistics.fmean((one > other) + (one == other) / 2 for one, other in pairs)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--volleys", type=int, default=40)
    arguments = parser.parse_args()
    service = PushService()
    settings = {
        "CIBA_HIDE_UNKNOWN_USERS": "1", "CIBA_MAX_PENDING_PER_USER": "100000",
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
            address = url.removeprefix("http://")
            volley = Volley(address, agent)
            volley("warm@example.com")
            volleys = [(volley(email), volley("nobody@example.com")) for _ in range(arguments.volleys)]
            web = http.client.HTTPConnection(address)
            singles = [(ask(web, agent, email), ask(web, agent, "nobody@example.com")) for _ in range(arguments.rounds)]
    finally:
        service.stop()
    shares = [
        report("one request", singles),
        report(f"{AT_ONCE} at once", [(somebody[0], no_one[0]) for somebody, no_one in volleys]),
        report(f"{AT_ONCE} cancelled", [(somebody[1], no_one[1]) for somebody, no_one in volleys]),
    ]
    limits = [MAX, MAX_AT_ONCE, MAX_AT_ONCE]
    return int(any(abs(share - 0.5) > max_length for share, max_length in zip(shares, limits, strict=True)))


def report(what: str, pairs: list[tuple[float, float]]) -> float:
    somebody, no_one = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    share = slower(somebody, no_one)
    say(f"{what}: somebody {percentiles(somebody)}; nobody {percentiles(no_one)}; somebody took longer in {share:.3f}")
    return share


if __name__ == "__main__":
    raise SystemExit(main())
