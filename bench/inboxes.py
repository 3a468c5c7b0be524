"""`make bench-inboxes`: a thousand users' open inboxes on one web process of the real product.

Memory of each, what a token request and a page take meanwhile beside their idle values, and from the commit of a new
prompt to the event in its user's inbox.
"""

import argparse
import asyncio
import http.client
import statistics
import time
from typing import Any

from crowd import Decider, Waiting, open_all
from product import Agent, leave_database, memory, percentiles, product, say, sign_in, web_process

SINGLE = 200  # prompts one after the other


def make_users(agent: Agent, count: int) -> list[tuple[Any, str]]:
    """(user, cookie) of so many users, each signed in."""
    from django.conf import settings

    from accounts.models import User
    from clients.models import AgentLink

    users = [User(email=f"bench{number}@example.com") for number in range(count)]
    User.objects.bulk_create(users)
    AgentLink.objects.bulk_create([AgentLink(agent=agent.row, user=one, is_linked=True) for one in users])
    return [(user, f"{settings.SESSION_COOKIE_NAME}={sign_in(user)}") for user in users]


def page_times(url: str, cookie: str, count: int = 100) -> list[float]:
    """Milliseconds of fetching the inbox's list so many times."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"))
    times = []
    for _ in range(count):
        began = time.perf_counter()
        connection.request("GET", "/?part=list", headers={"Cookie": cookie})
        response = connection.getresponse()
        response.read()
        times.append((time.perf_counter() - began) * 1000)
        if response.status != 200:
            raise SystemExit(f"the page answered {response.status}")
    connection.close()
    return times


class Asks:
    """Creates a prompt for a user."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent

    def __call__(self, email: str) -> None:
        from django.utils import timezone

        from accounts.models import User
        from ciba import lifecycle
        from ciba.attempt import BackchannelAttempt
        from oauth.requests.requested_access import find_requested_access

        requested = find_requested_access(self.agent.row, {"scope": "openid"})
        user = User.objects.get(email=email)
        opened = lifecycle.open(BackchannelAttempt(self.agent.row, timezone.now(), {}, requested=requested, user=user))
        if not isinstance(opened, lifecycle.OpenedRequest):
            raise SystemExit(f"a request was refused: {opened}")


async def hold(url: str, agent: Agent, users: list[tuple[Any, str]], pid: int, decider: Decider) -> None:
    host, _, port = url.removeprefix("http://").partition(":")
    idle, idle_page = agent.token_times(url), page_times(url, users[0][1])
    before = memory(pid)

    async def begin(waiting: Waiting) -> None:
        await waiting.until(b"data: again\n\n")

    requests = [
        f"GET /v1/prompts/events HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\n\r\n".encode() for _, cookie in users
    ]
    began = time.monotonic()
    crowd = await open_all(host, int(port), requests, begin)
    say(f"{len(crowd)} inboxes are open, opened in {time.monotonic() - began:.1f} s")
    await asyncio.sleep(6)  # everything was read again once
    say(f"memory: {(memory(pid) - before) / len(crowd):.1f} KiB each ({before // 1024} MiB before)")
    for what, idly, meanwhile in (
        ("token request", idle, await asyncio.to_thread(agent.token_times, url)),
        ("page", idle_page, await asyncio.to_thread(page_times, url, users[0][1])),
    ):
        ratio = statistics.median(meanwhile) / statistics.median(idly)
        say(f"a {what}: idle {percentiles(idly)}; meanwhile {percentiles(meanwhile)}; {ratio:.2f} times the median")
    took = []
    for number in range(min(SINGLE, len(crowd))):
        reply = asyncio.create_task(crowd[number].until(b"data: again\n\n"))
        committed_at = await decider.decide(users[number][0].email)
        await reply
        took.append((crowd[number].answered_at - committed_at) * 1000)
    say(f"from a prompt's commit to its user's inbox: {percentiles(took)} ({len(took)} prompts, one after the other)")
    for one in crowd:
        one.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inboxes", type=int, default=1000)
    count = parser.parse_args().inboxes
    with product() as (url, _, process):
        import django

        django.setup()
        agent = Agent("bench")
        users = make_users(agent, count)
        leave_database()
        decider = Decider(Asks(agent))
        try:
            agent.token_times(url, 50)
            asyncio.run(hold(url, agent, users, web_process(process.pid), decider))
        finally:
            decider.stop()


if __name__ == "__main__":
    main()
