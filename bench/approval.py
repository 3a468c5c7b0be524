"""`make bench-approval`: how soon after a decision an agent has its tokens, and what an approval costs.

1. From the commit of a decision to the tokens in the agent's hand, by long poll, by ping and by push, one after the
   other. A ping's time includes the agent's poll. The notification endpoint takes HTTPS.
2. Many approvals at a time, each decided 20 to 40 s after its request. Our agents wait by long poll, and where one ends
   without a decision, 5 s until the next. Those of the peer, which has no long poll, poll every 5 s. The CPU of all our
   processes, or of the peer and PostgreSQL, without what they take when nothing happens, per approval: from the request
   to the tokens.
"""

import argparse
import asyncio
import json
import ssl
import tempfile
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from pathlib import Path

from crowd import Decider, approve
from load import Connection
from ours import Ours
from parties import Parties, Side, make_agent
from product import leave_database, percentiles, say
from scenarios import BACKCHANNEL, CIBA, TOKEN
from servers import Servers, servers

from runtime.processes import free_port

WAIT = {"Prefer": "wait=30"}
UNTIL_HELD = 0.1  # seconds after which a long poll surely waits
PAUSE = 0.02  # seconds between decisions
DECISION, VARIES = 20.0, 20.0  # seconds: the earliest decision after its request, and how much later the last is
INTERVAL = 5.0  # seconds between polls
SPREAD = 10.0  # seconds in which all requests of the second part are made
IDLE = 20.0  # seconds


# --- from a decision to the tokens


class Endpoint:
    """The agent's notification endpoint: the body of each callback, and when it was there."""

    def __init__(self) -> None:
        self.arrived: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        body = await reader.readexactly(length)
        self.arrived.put_nowait((time.monotonic(), body))
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()


class Deliveries:
    """One decision after the other; each method says when the agent had its tokens."""

    def __init__(self, ours: Ours, decider: Decider, endpoint: Endpoint, connection: Connection) -> None:
        self.ours, self.decider, self.endpoint, self.connection = ours, decider, endpoint, connection

    async def times(self, mode: str, parties: Parties, count: int) -> list[float]:
        """ms."""
        deliver = {"poll": self._by_long_poll, "ping": self._by_ping, "push": self._by_push}[mode]
        times = []
        for _ in range(count):
            auth_req_id = await ask(self.connection, parties, 0, client_notification_token="t" * 43)
            committed_at, had_at = await deliver(parties, auth_req_id)
            times.append((had_at - committed_at) * 1000)
            await asyncio.sleep(PAUSE)
        return times

    async def _decide(self, auth_req_id: str) -> float:
        return await self.decider.decide(self.ours.find_prompt(auth_req_id))

    async def _by_long_poll(self, parties: Parties, auth_req_id: str) -> tuple[float, float]:
        async def wait() -> float:
            await self.connection.expect(poll(parties, auth_req_id, **WAIT), 200, "access_token")
            return time.monotonic()

        waiting = asyncio.create_task(wait())
        await asyncio.sleep(UNTIL_HELD)
        return await self._decide(auth_req_id), await waiting

    async def _by_ping(self, parties: Parties, auth_req_id: str) -> tuple[float, float]:
        async def wait() -> float:
            await self.endpoint.arrived.get()
            await self.connection.expect(poll(parties, auth_req_id), 200, "access_token")
            return time.monotonic()

        waiting = asyncio.create_task(wait())
        return await self._decide(auth_req_id), await waiting

    async def _by_push(self, _parties: Parties, auth_req_id: str) -> tuple[float, float]:
        committed_at = await self._decide(auth_req_id)
        had_at, body = await self.endpoint.arrived.get()
        if "access_token" not in json.loads(body):
            raise SystemExit(f"a push without tokens: {body!r}")
        return committed_at, had_at


async def ask(connection: Connection, parties: Parties, number: int, **more: str) -> str:
    """The auth_req_id of a new request to the user with this number."""
    form = {"scope": f"openid {parties.scope}", "login_hint": parties.users[number % len(parties.users)].email, **more}
    answer = await connection.expect(parties.post(BACKCHANNEL, form), 200, "auth_req_id")
    return str(json.loads(answer)["auth_req_id"])


def poll(parties: Parties, auth_req_id: str, **headers: str) -> bytes:
    return parties.post(TOKEN, {"grant_type": CIBA, "auth_req_id": auth_req_id}, **headers)


async def deliver(
    ours: Ours, agents: Mapping[str, Parties], decider: Decider, port: int, context: ssl.SSLContext, count: int
) -> None:
    endpoint = Endpoint()
    server = await asyncio.start_server(endpoint.take, "127.0.0.1", port, ssl=context)
    deliveries = Deliveries(ours, decider, endpoint, await Connection.open(ours.port))
    for mode, parties in agents.items():
        await deliveries.times(mode, parties, 10)  # until everything is warm
        times = await deliveries.times(mode, parties, count)
        say(f"from a decision to the tokens by {NAMES[mode]}: {percentiles(times)}")
    server.close()


NAMES = {"poll": "long poll", "ping": "ping", "push": "push"}


# --- what an approval costs

Wait = Callable[[Side, str], Coroutine[None, None, None]]


async def wait_by_long_poll(side: Side, auth_req_id: str) -> None:
    while not await _has_tokens(side, auth_req_id, **WAIT):
        await asyncio.sleep(INTERVAL)


async def wait_by_polls(side: Side, auth_req_id: str) -> None:
    await asyncio.sleep(INTERVAL)
    while not await _has_tokens(side, auth_req_id):
        await asyncio.sleep(INTERVAL)


async def _has_tokens(side: Side, auth_req_id: str, **headers: str) -> bool:
    connection = await Connection.open(side.port)
    answer = await connection.exchange(poll(side.parties, auth_req_id, **headers))
    connection.close()
    if answer.status != 200 and b"authorization_pending" not in answer.body:
        raise SystemExit(f"a poll was refused: {answer.body!r}")
    return answer.status == 200


async def approve_many(side: Side, wait: Wait, count: int) -> list[float]:
    """How long after its decision each agent had its tokens, ms."""

    async def one(number: int) -> float:
        await asyncio.sleep(number * SPREAD / count)
        connection = await Connection.open(side.port)
        auth_req_id = await ask(connection, side.parties, number)
        connection.close()
        waiting = asyncio.create_task(wait(side, auth_req_id))
        await asyncio.sleep(DECISION + VARIES * (number * 7 % count) / count)
        connection = await Connection.open(side.port)
        await side.approve(connection, auth_req_id, number)
        decided_at = time.monotonic()
        connection.close()
        await waiting
        return (time.monotonic() - decided_at) * 1000

    return await asyncio.gather(*map(one, range(count)))


def compare_costs(started: Servers, count: int) -> None:
    if started.peer is None:
        raise SystemExit("there is no peer")
    groups = {"ours": started.supervisor, "node": started.peer.server, "postgres": started.postmaster}
    meter = started.meter(groups)
    time.sleep(IDLE)
    idle = {name: seconds / IDLE for name, seconds in meter.stop().seconds.items()}
    sides: list[tuple[str, Side, Wait, list[str]]] = [
        ("ours, by long poll", started.ours, wait_by_long_poll, ["ours"]),
        ("the peer, by a poll every 5 s", started.peer, wait_by_polls, ["node", "postgres"]),
    ]
    costs = []
    for name, side, wait, counted in sides:
        meter, began = started.meter(groups), time.monotonic()
        times = asyncio.run(approve_many(side, wait, count))
        used, took = meter.stop(), time.monotonic() - began
        costs.append(sum(used.seconds[one] - idle[one] * took for one in counted) / count * 1000)
        say(f"an approval, {name}: {costs[-1]:.1f} ms of CPU; its tokens: {percentiles(times)}")
        say(f"  (something else took {used.foreign:.0%} of the two cores meanwhile)")
    say(f"ours / the peer's: {costs[0] / costs[1]:.2f}")


def main() -> None:
    from tests.support.tls_server import make_certificate

    parser = argparse.ArgumentParser(description="From a decision to the tokens, and what an approval costs.")
    parser.add_argument("--count", type=int, default=200, help="decisions of each kind")
    count, port = parser.parse_args().count, free_port()
    with tempfile.TemporaryDirectory() as name:
        certificates = make_certificate(Path(name))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates / "server.pem")
        settings = {
            "OUTBOUND_CA_FILE": str(certificates / "ca.pem"), "OUTBOUND_EXCEPTIONS": f"127.0.0.1:{port}",
        }  # fmt: skip
        with servers(count, has_peer=True, pinned=True, **settings) as started:
            parties = started.ours.parties
            agents = {mode: called_agent(parties, mode, f"https://127.0.0.1:{port}/ciba") for mode in NAMES}
            leave_database()
            decider = Decider(approve)
            try:
                asyncio.run(deliver(started.ours, agents, decider, port, context, count))
            finally:
                decider.stop()
            compare_costs(started, count)


def called_agent(parties: Parties, mode: str, address: str) -> Parties:
    fields = {"backchannel_token_delivery_mode": mode, "backchannel_client_notification_endpoint": address}
    agent, secret = make_agent(parties.users, **(fields if mode != "poll" else {}))
    return replace(parties, agent=agent, secret=secret)


if __name__ == "__main__":
    main()
