"""Serves one request from its first byte to its last, and starts and ends the process."""

import asyncio
import json
import logging
import signal
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from foundation.errors import BodyTooLarge, ProtocolError, TemporarilyUnavailable
from foundation.pending_answers import STREAM_RETRY_AFTER_S, Pause, Resumed, Stream, TooManyStreams, Wait
from web.exchange import CHUNK_BYTES, Receive, Scope, Send, Wsgi, WsgiAnswer, call, environ_of, messages_of
from web.hub import Hub, Listener, Mark
from web.pool import Pool, QueueFull
from web.repeats import Repeats
from web.streams import Streams

log = logging.getLogger(__name__)

BODY_TIMEOUT_S = 30.0  # seconds for a whole body
MAX_BUFFERED_BYTES = 64 * 1024 * 1024  # bytes of all bodies at once; beyond this, only small bodies are read
SMALL_BODY_BYTES = 64 * 1024  # bytes: every protocol request is far below
SEND_TIMEOUT_S = 30.0  # seconds that a slow reader may block sending


FAILED = WsgiAnswer(500, [(b"content-type", b"text/plain"), (b"content-length", b"14")], b"internal error")


class BodyIncomplete(ProtocolError):
    """The body ended early, or its chunks are malformed (RFC 9112 7.1, 8)."""

    # granian reports both as a disconnect.
    code = "invalid_request"
    status = HTTPStatus.BAD_REQUEST
    default_description = "the body is incomplete or its chunks cannot be read"
    advice = "Send the whole body, with a correct Content-Length or correct chunks."


class BodyTooSlow(ProtocolError):
    """The body did not arrive in time (RFC 9110 15.5.9)."""

    code = "invalid_request"
    status = HTTPStatus.REQUEST_TIMEOUT
    default_description = "the body did not arrive in time"
    advice = "Send the whole body at once, over a new connection."


class Front:
    """The ASGI application."""

    def __init__(
        self, wsgi: Wsgi, *, threads: int, queue: int, max_parked: int, max_body: int, make_hub: Callable[[Pool], Hub]
    ) -> None:
        self._wsgi = wsgi
        self._pool = Pool(threads, queue)
        self._hub = make_hub(self._pool)
        self._streams = Streams(self._hub)
        self._repeats = Repeats()
        self._parked: set[Listener] = set()
        self._max_parked = max_parked
        self._max_body = max_body
        self._buffered = 0
        self._is_closing = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)

    # --- the process

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        self._hub.start()
        self._end_with_sigterm()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.close()
        await self._hub.stop()
        self._pool.close()
        await send({"type": "lifespan.shutdown.complete"})

    def _end_with_sigterm(self) -> None:
        """granian tells us only when every connection has ended, so that a stream would keep it until it is killed.

        Its own handler is asyncio's, which is called through the wake-up descriptor: this one comes beside it.
        """
        if threading.current_thread() is threading.main_thread():
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: loop.call_soon_threadsafe(self.close))

    def close(self) -> None:
        """Ends every stream and every wait. Requests in progress get their answers."""
        self._is_closing = True
        for listener in self._parked:
            listener.end()

    # --- one request

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if repeated := self._repeats.find(scope):
            for message in repeated:
                await send(message)
            return
        try:
            body = await self._read_body(scope, receive)
            mark = self._hub.mark()
            answer = await self._pool.run(self._answer, scope, body, send)
        except QueueFull:
            await refuse(send, TemporarilyUnavailable(retry_after=1))
        except ProtocolError as error:
            await refuse(send, error)
        except Exception:
            log.exception("the application failed")
            await send_whole(send, FAILED)
        else:
            if answer is not None:
                await self._send(scope, answer, mark, receive, send)

    def _answer(self, scope: Scope, body: bytes, send: Send) -> WsgiAnswer | None:
        """Runs the application in a thread, and sends a whole answer from there, without a way through the loop.

        Returns the answer if it is still to be sent.
        """
        answer = call(self._wsgi, environ_of(scope, body))
        if answer.parked is not None or answer.close is not None:
            return answer
        if answer.repeat is not None:
            self._repeats.keep(scope, answer, answer.repeat)
        send_from_thread(send, answer)
        return None

    async def _read_body(self, scope: Scope, receive: Receive) -> bytes:
        """The whole body. Raises ProtocolError if it is unreadable, too large, too slow, or if too much is buffered."""
        headers = dict(scope["headers"])
        declared = int(headers.get(b"content-length") or 0)
        if not declared and b"transfer-encoding" not in headers:
            return b""
        if declared > self._max_body:
            raise BodyTooLarge()
        received_bytes, parts = 0, []
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                more = True
                while more:
                    part, more = await _receive_part(receive)
                    received_bytes += len(part)
                    self._buffered += len(part)
                    if received_bytes > self._max_body:
                        raise BodyTooLarge()
                    if self._buffered > MAX_BUFFERED_BYTES and received_bytes > SMALL_BODY_BYTES:
                        raise TemporarilyUnavailable(retry_after=1)
                    parts.append(part)
        except TimeoutError as error:
            raise BodyTooSlow() from error
        finally:
            self._buffered -= received_bytes
        return b"".join(parts)

    async def _send(self, scope: Scope, answer: WsgiAnswer, mark: Mark, receive: Receive, send: Send) -> None:
        if isinstance(answer.parked, Stream):
            await self._stream(answer, answer.parked, mark, receive, send)
        elif isinstance(answer.parked, Wait):
            if final := await self._park(scope, answer, answer.parked, mark, receive):
                await send_whole(send, final)
        elif isinstance(answer.parked, Pause):
            await asyncio.sleep(answer.parked.until - time.monotonic())
            await send_whole(send, answer)
        elif answer.close is not None and (answer.file or answer.chunks):
            await self._send_parts(answer, answer.close, receive, send)
        else:
            await send_whole(send, answer)

    async def _stream(self, answer: WsgiAnswer, stream: Stream, mark: Mark, receive: Receive, send: Send) -> None:
        if self._is_closing or len(self._parked) >= self._max_parked:
            await refuse(send, TemporarilyUnavailable(retry_after=STREAM_RETRY_AFTER_S))
        elif not self._streams.has_room(stream):
            await refuse(send, TooManyStreams())
        else:
            listener = Listener([stream.watch, *stream.ends])
            self._parked.add(listener)
            going = when_gone(receive, listener.end)
            try:
                await self._streams.serve(answer, stream, listener, mark, send)
            finally:
                going.cancel()
                self._parked.discard(listener)

    async def _park(
        self, scope: Scope, first: WsgiAnswer, wait: Wait, mark: Mark, receive: Receive
    ) -> WsgiAnswer | None:
        """The answer, when it has changed or the wait is over; None if the client has disconnected."""
        if self._is_closing or len(self._parked) >= self._max_parked:
            await self._pool.run_own(wait.over)
            return first  # correct, only earlier than the client wished
        listener = Listener([wait.watch])
        self._parked.add(listener)
        going = when_gone(receive, listener.leave)
        try:
            with self._hub.listening(listener, mark):
                return await self._wait(scope, wait, listener)
        except Exception:
            log.exception("the application failed")
            return FAILED
        finally:
            going.cancel()
            self._parked.discard(listener)

    async def _wait(self, scope: Scope, wait: Wait, listener: Listener) -> WsgiAnswer | None:
        loop = asyncio.get_running_loop()
        over_at = loop.time() + wait.seconds
        while True:
            await listener.wait(over_at - loop.time())
            if listener.is_gone:
                await self._pool.run_own(wait.over)
                return None
            is_last = listener.is_over or loop.time() >= over_at
            answer = await self._pool.run_own(self._resume, scope, wait, is_last)
            if answer.parked is None:
                return answer

    def _resume(self, scope: Scope, wait: Wait, is_last: bool) -> WsgiAnswer:
        is_over = True
        try:
            answer = call(self._wsgi, environ_of(scope, resumed=Resumed(wait.state, is_last)))
            is_over = answer.parked is None
            return answer
        finally:
            if is_over:
                wait.over()

    async def _send_parts(self, answer: WsgiAnswer, close: Callable[[], None], receive: Receive, send: Send) -> None:
        gone = threading.Event()
        going = when_gone(receive, gone.set)
        try:
            await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
            if answer.file is not None:
                # The thread only reads a part, so a slow reader keeps no thread.
                while (part := await self._pool.run_own(answer.file.read, CHUNK_BYTES)) and not gone.is_set():
                    async with asyncio.timeout(SEND_TIMEOUT_S):
                        await send({"type": "http.response.body", "body": part, "more_body": True})
            else:
                await self._pool.run(self._send_chunks, answer, gone, asyncio.get_running_loop(), send)
            await send({"type": "http.response.body", "body": b""})
        finally:
            going.cancel()
            await self._pool.run_own(close)

    def _send_chunks(
        self, answer: WsgiAnswer, gone: threading.Event, loop: asyncio.AbstractEventLoop, send: Send
    ) -> None:
        """Runs in one thread throughout, because the generator may hold a database connection of that thread."""
        for chunk in answer.chunks or ():
            if gone.is_set():
                return
            message = {"type": "http.response.body", "body": chunk, "more_body": True}
            asyncio.run_coroutine_threadsafe(_send(send, message), loop).result(SEND_TIMEOUT_S)


async def _receive_part(receive: Receive) -> tuple[bytes, bool]:
    """A part of the body, and whether more follow. Raises BodyIncomplete if the client has gone."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise BodyIncomplete()
    return message.get("body", b""), message.get("more_body", False)


async def _send(send: Send, message: dict[str, Any]) -> None:
    await send(message)


def when_gone(receive: Receive, act: Callable[[], None]) -> "asyncio.Task[None]":
    """Calls `act` as soon as the client has disconnected."""

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        act()

    return asyncio.create_task(watch())


async def send_whole(send: Send, answer: WsgiAnswer) -> None:
    for message in messages_of(answer):
        await send(message)


def send_from_thread(send: Send, answer: WsgiAnswer) -> None:
    """Sends a whole answer from any thread: granian takes its messages at once and never suspends the sender."""
    for message in messages_of(answer):
        try:
            next(send(message).__await__())
        except StopIteration:
            continue
        raise RuntimeError("this ASGI server suspends the sender of a whole answer: serve with granian")


async def refuse(send: Send, error: ProtocolError) -> None:
    """Sends a refusal of the front itself, with the body of every error."""
    body = json.dumps(error.body()).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
    if error.retry_after is not None:
        headers.append((b"retry-after", str(error.retry_after).encode()))
    if isinstance(error, BodyIncomplete | BodyTooSlow | BodyTooLarge):
        headers.append((b"connection", b"close"))  # the rest of the body is not read
    await send_whole(send, WsgiAnswer(error.status, headers, body))
