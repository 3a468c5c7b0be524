"""Wake-ups: subscribed to before anybody looks, counted, and complete or known not to be."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from foundation import pending_answers, wakeups
from foundation.pending_answers import Watch
from tests.support.own_redis import OwnRedis
from tests.web.conftest import in_a_loop
from web import hub as hubs
from web.hub import Hub, Listener
from web.pool import Pool

NEVER = 60.0  # seconds: no reading again within a test


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """What is read of the topics of kind "thing"."""
    things: dict[str, int] = {}
    monkeypatch.setitem(
        pending_answers.READERS, "thing", lambda keys: {key: things[key] for key in keys if key in things}
    )
    return things


async def connected(hub: Hub) -> Hub:
    hub.start()
    while hub.mark() is None:
        await asyncio.sleep(0.01)
    return hub


async def receive_wakeup(hub: Hub, topic: str) -> None:
    """Publishes, and waits until it was received."""
    before = hub.mark()
    await asyncio.to_thread(wakeups._publish, [topic])
    while hub.mark() == before:
        await asyncio.sleep(0.01)


def run(test: Callable[[Hub], Awaitable[None]], url: str, every: float = NEVER) -> None:
    async def main() -> None:
        pool = Pool(2, 2)
        hub = await connected(Hub(pool, url, recheck_interval=every))
        try:
            async with asyncio.timeout(10):
                await test(hub)
        finally:
            await hub.stop()
            pool.close()

    in_a_loop(main())


def listener(revision: int | None = None) -> Listener:
    return Listener([Watch("thing:1", revision)])


def test_what_is_woken_after_the_mark_and_before_the_waiting_is_reported(own_redis: OwnRedis) -> None:
    async def test(hub: Hub) -> None:
        mark = hub.mark()
        await receive_wakeup(hub, "thing:1")
        with hub.listening(listener(), mark) as one:
            assert await one.wait(1) == {"thing:1"}

    run(test, own_redis.url)


def test_what_was_woken_before_the_mark_is_not(own_redis: OwnRedis, state: dict[str, int]) -> None:
    async def test(hub: Hub) -> None:
        await receive_wakeup(hub, "thing:1")
        with hub.listening(listener(), hub.mark()) as one:
            assert await one.wait(0.3) == set()

    run(test, own_redis.url)


def test_a_mark_older_than_what_is_remembered_makes_it_look(
    own_redis: OwnRedis, state: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hubs, "MAX_REMEMBERED_TOPICS", 2)

    async def test(hub: Hub) -> None:
        state["1"] = 1
        mark = hub.mark()
        for topic in ("thing:1", "thing:2", "thing:3", "thing:4"):
            await receive_wakeup(hub, topic)
        with hub.listening(listener(0), mark) as one:
            assert await one.wait(2) == {"thing:1"}

    run(test, own_redis.url)


def test_a_changed_revision_is_reported_once_and_a_missing_one_is_a_change(
    own_redis: OwnRedis, state: dict[str, int]
) -> None:
    async def test(hub: Hub) -> None:
        state["1"] = 1
        with hub.listening(listener(0), hub.mark()) as one:
            assert await one.wait(2) == {"thing:1"}
            assert await one.wait(0.5) == set()
            del state["1"]
            assert await one.wait(2) == {"thing:1"}

    run(test, own_redis.url, every=0.1)


def test_a_reader_that_fails_stops_nothing(
    own_redis: OwnRedis, state: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = iter([ValueError("a bug")])

    def read(keys: object) -> dict[str, int]:
        for failure in failures:
            raise failure
        return {"1": 1}

    monkeypatch.setitem(pending_answers.READERS, "thing", read)

    async def test(hub: Hub) -> None:
        with hub.listening(listener(0), hub.mark()) as one:
            assert await one.wait(3) == {"thing:1"}

    run(test, own_redis.url, every=0.1)


def test_after_redis_came_back_everybody_looks(own_redis: OwnRedis, state: dict[str, int]) -> None:
    async def test(hub: Hub) -> None:
        with hub.listening(listener(0), hub.mark()) as one:
            await asyncio.to_thread(own_redis.make_trouble, "stopped")
            while hub.mark() is not None:
                await asyncio.sleep(0.01)
            state["1"] = 1
            own_redis.mend()  # here: its end is bound to the thread that starts it
            assert await one.wait(9) == {"thing:1"}

    run(test, own_redis.url)


def test_nobody_is_left_behind(own_redis: OwnRedis) -> None:
    async def test(hub: Hub) -> None:
        with hub.listening(listener(), hub.mark()), hub.listening(listener(), hub.mark()):
            assert len(hub) == 1
        assert len(hub) == 0

    run(test, own_redis.url)
