"""Server-sent events. A stream only says "look again" and carries no data."""

import asyncio
from collections import Counter

from foundation.pending_answers import Stream
from web.exchange import Send, WsgiAnswer
from web.hub import Hub, Listener, Mark

HEARTBEAT_S = 15.0  # seconds; shorter than the time-outs of proxies
RECONNECT_MS = 1000  # milliseconds
SEND_TIMEOUT_S = 30.0  # seconds that a slow reader may block sending
MAX_STREAMS_PER_HOLDER = 20  # open streams per holder

RECHECK = b"event: look\ndata: again\n\n"
BEAT = b": still here\n\n"


class Streams:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._open: Counter[str] = Counter()

    def has_room(self, stream: Stream) -> bool:
        return self._open[stream.holder] < MAX_STREAMS_PER_HOLDER

    async def serve(self, answer: WsgiAnswer, stream: Stream, listener: Listener, mark: Mark, send: Send) -> None:
        """Serves the stream until the client has disconnected, one of `ends` has changed, or the listener is over."""
        self._open[stream.holder] += 1
        try:
            with self._hub.listening(listener, mark):
                await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
                # The server does not know what changed since the page was rendered, so the client
                # looks once.
                await self._send(send, b"retry: %d\n" % RECONNECT_MS + RECHECK)
                await self._notify(stream, listener, send)
            await send({"type": "http.response.body", "body": b""})
        except TimeoutError:
            return  # the client does not read any more; the connection is closed
        finally:
            self._open[stream.holder] -= 1
            if not self._open[stream.holder]:
                del self._open[stream.holder]

    async def _notify(self, stream: Stream, listener: Listener, send: Send) -> None:
        while not listener.is_over:
            changed = await listener.wait(HEARTBEAT_S)
            if listener.is_over or changed - {stream.watch.topic}:
                return  # the client reconnects, and its user is checked again
            await self._send(send, RECHECK if changed else BEAT)

    async def _send(self, send: Send, text: bytes) -> None:
        async with asyncio.timeout(SEND_TIMEOUT_S):
            await send({"type": "http.response.body", "body": text, "more_body": True})
