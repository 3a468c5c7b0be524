"""An answer that stays open (server-sent events): it says "look again", and never what there is to see."""

import asyncio
from collections import Counter

from authserver.front.exchange import Answer, Send
from authserver.front.hub import Hub, Listener, Mark
from foundation.waiting import Stream

HEARTBEAT = 15.0  # seconds: shorter than proxies' time-outs
RECONNECT = 1000  # milliseconds
SEND_TIMEOUT = 30.0  # seconds that a reader may keep us from sending
MOST_OF_ONE = 20  # streams of one holder
RETRY_AFTER = 30  # seconds

LOOK = b"event: look\ndata: again\n\n"
BEAT = b": still here\n\n"


class Streams:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._open: Counter[str] = Counter()

    def has_room(self, stream: Stream) -> bool:
        return self._open[stream.holder] < MOST_OF_ONE

    async def serve(self, answer: Answer, stream: Stream, listener: Listener, mark: Mark, send: Send) -> None:
        """Until the reader has gone, one of `ends` has changed, or the listener is told that it is over."""
        self._open[stream.holder] += 1
        try:
            with self._hub.listening(listener, mark):
                await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
                # What happened since the page was made is not known here: it is to look once.
                await self._send(send, b"retry: %d\n" % RECONNECT + LOOK)
                await self._tell(stream, listener, send)
            await send({"type": "http.response.body", "body": b""})
        except TimeoutError:
            return  # it reads no more; the connection is closed
        finally:
            self._open[stream.holder] -= 1
            if not self._open[stream.holder]:
                del self._open[stream.holder]

    async def _tell(self, stream: Stream, listener: Listener, send: Send) -> None:
        while not listener.is_over:
            changed = await listener.wait(HEARTBEAT)
            if listener.is_over or changed - {stream.watch.topic}:
                return  # the reader comes back, and is asked anew who it is
            await self._send(send, LOOK if changed else BEAT)

    async def _send(self, send: Send, text: bytes) -> None:
        async with asyncio.timeout(SEND_TIMEOUT):
            await send({"type": "http.response.body", "body": text, "more_body": True})
