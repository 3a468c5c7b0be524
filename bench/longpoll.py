"""`make bench-longpoll`: thousands of agents wait for an answer on one web process of the real product.

The polls are authenticated by a secret, and sent all at once: so all are held before the first has waited for its
30 seconds. Memory of each, what a token request takes meanwhile beside its idle value, from the commit of a decision
to the last byte of its answer, and what becomes of those that go away.
"""

import argparse
import asyncio
import statistics
import time
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from crowd import Decider, Waiting, approve, open_all
from product import FORM, Agent, cpu_share, leave_database, memory, open_files, percentiles, product, say, web_process

USERS = 20
SINGLE = 100  # decisions one after the other
BUSY = 0.2  # of a core
WAIT = 30  # seconds


def open_requests(agent: Agent, count: int) -> list[tuple[str, Any]]:
    """(auth_req_id, prompt id) of so many open questions."""
    from django.utils import timezone

    from accounts.models import User
    from ciba import lifecycle
    from ciba.attempt import BackchannelAttempt
    from ciba.models import BackchannelRequest, Prompt
    from ciba.parameters import BackchannelParameters
    from clients.models import AgentLink
    from oauth.requests.requested_access import find_requested_access

    users = [User.objects.create(email=f"bench{number}@example.com") for number in range(USERS)]
    AgentLink.objects.bulk_create([AgentLink(agent=agent.row, user=one, is_linked=True) for one in users])
    requested = find_requested_access(agent.row, {"scope": "openid"})
    opened = []
    now = timezone.now()
    for number in range(count):
        parsed = BackchannelParameters(requested_expiry=3600)
        user = users[number % USERS]
        one = lifecycle.open(BackchannelAttempt(agent.row, now, {}, parsed=parsed, requested=requested, user=user))
        if not isinstance(one, lifecycle.OpenedRequest):
            raise SystemExit(f"a request was refused: {one}")
        opened.append((one.auth_req_id, Prompt.objects.get(request=one.request).pk))
    BackchannelRequest.objects.update(expires_at=now + timedelta(hours=1))
    return opened


def make_polls(poller: Agent, opened: list[tuple[str, Any]]) -> list[bytes]:
    grant = {"grant_type": "urn:openid:params:grant-type:ciba"} | poller.use_secret()
    polls = []
    for auth_req_id, _ in opened:
        form = urlencode(grant | {"auth_req_id": auth_req_id}).encode()
        head = f"POST /oauth/token HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM}\r\nPrefer: wait={WAIT}\r\n"
        polls.append(f"{head}Content-Length: {len(form)}\r\n\r\n".encode() + form)
    return polls


async def hold(
    url: str, agent: Agent, polls: list[bytes], opened: list[tuple[str, Any]], pid: int, decider: Decider
) -> None:
    host, _, port = url.removeprefix("http://").partition(":")
    idle = agent.token_times(url)
    before, files = memory(pid), open_files(pid)

    async def begin(waiting: Waiting) -> None:
        await waiting.writer.drain()

    began = time.monotonic()
    crowd = await open_all(host, int(port), polls, begin)
    answers = [asyncio.create_task(one.until(b"}")) for one in crowd]
    while open_files(pid) - files < len(crowd):
        await asyncio.sleep(0.05)
    while cpu_share(pid) > BUSY:  # until nothing more is being parked
        await asyncio.sleep(0.1)
    if early := sum(task.done() for task in answers):
        raise SystemExit(f"{early} polls were answered before all were held: this machine takes fewer (--agents)")
    say(f"{len(crowd)} polls are held, {time.monotonic() - began:.1f} s after the first was sent")
    say(f"memory: {(memory(pid) - before) / len(crowd):.1f} KiB each ({before // 1024} MiB before)")

    meanwhile = await asyncio.to_thread(agent.token_times, url, 150)
    ratio = statistics.median(meanwhile) / statistics.median(idle)
    say(f"a token request: idle {percentiles(idle)}; meanwhile {percentiles(meanwhile)}; {ratio:.2f} times the median")

    gone = crowd[-len(crowd) // 10 :]
    held = open_files(pid)
    for one in gone:
        one.close()
    left_at = time.monotonic()
    while open_files(pid) > held - len(gone):
        await asyncio.sleep(0.002)
    say(f"{len(gone)} clients that went away: every place was free {(time.monotonic() - left_at) * 1000:.0f} ms later")

    times = []
    single = min(SINGLE, len(crowd) // 4)
    for number in range(single):
        committed_at = await decider.decide(opened[number][1])
        await answers[number]
        times.append((crowd[number].answered_at - committed_at) * 1000)
    say(f"from a decision's commit to its answer: {percentiles(times)} ({single} decisions, one after the other)")
    wrong = [one.status for one in crowd[:single] if one.status != b"200"]
    say(f"answers other than 200: {len(wrong)}")
    for one in crowd:
        one.close()
    await asyncio.gather(*answers, return_exceptions=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", type=int, default=5000)
    count = parser.parse_args().agents
    settings = {"CIBA_MAX_PENDING_PER_USER": str(count), "WEB_WAITING": str(count + 1000), "WEB_QUEUE": str(count)}
    with product(**settings) as (url, _, process):
        import django

        django.setup()
        agent, poller = Agent("bench"), Agent("bench of many")
        say(f"{count} questions are being opened ...")
        opened = open_requests(poller, count)
        polls = make_polls(poller, opened)
        leave_database()
        decider = Decider(approve)
        try:
            agent.token_times(url, 50)
            asyncio.run(hold(url, agent, polls, opened, web_process(process.pid), decider))
        finally:
            decider.stop()


if __name__ == "__main__":
    main()
