"""A WebSocket for streams: sending waits for the socket, closing gives a reason, and incoming data
is bounded.

Daphne writes without waiting, so its buffer for a client that does not read would grow without
bound. Here Twisted tells a producer, registered on the WebSocket's transport, when the buffer is
full and when it has drained. Nor does Daphne bound what a client sends before its handshake is
answered, or how many small messages it sends.
"""

from __future__ import annotations

import asyncio
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from autobahn.websocket import ConnectionDeny
from daphne.ws_protocol import WebSocketProtocol
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import connectionDone
from zope.interface import implementer

from changesource.asgi_extensions import SEND_FRAMES, UPSTREAM_REFUSED
from changesource.protocol.closing import Closing, message_too_long, not_a_websocket

if TYPE_CHECKING:
    from changesource.daphne.server import StreamServer

MAX_EARLY_BYTES = 4096
"""How much a client may send before its handshake is answered. zero-cache waits for the answer."""
READ_SLICE_SECONDS = 0.05
"""The length of a time slice. Within each, a connection is read up to limits so small that no other
stream waits long."""
READ_SLICE_BYTES = 65_536
"""How much of the messages, decompressed, is read in a slice."""


@implementer(IPushProducer)
class Drain:
    """Whether a transport's buffer has room. Twisted calls the camel-case methods."""

    def __init__(self, transport: Any) -> None:
        self._has_room = asyncio.Event()
        self._has_room.set()
        # After the upgrade the transport still has Twisted's HTTP channel as its producer.
        transport.unregisterProducer()
        transport.registerProducer(self, True)

    @property
    def is_full(self) -> bool:
        return not self._has_room.is_set()

    async def wait(self) -> None:
        await self._has_room.wait()

    def pauseProducing(self) -> None:
        self._has_room.clear()

    def resumeProducing(self) -> None:
        self._has_room.set()

    def stopProducing(self) -> None:
        """The connection is gone, which the waiting task finds out when it continues."""
        self._has_room.set()


class StreamProtocol(WebSocketProtocol):
    """A WebSocket whose sender can wait for room, and whose close gives the reason."""

    drain: Drain | None = None
    maxMessagePayloadSize: int
    server: StreamServer
    _denial_status = 403
    _is_asked = False
    _takes_no_more = False
    _is_paused = False
    _slice_ends = 0.0
    _slice_frames = 0
    _slice_begins_at_bytes = 0

    def onConnect(self, request: Any) -> Any:
        self._is_asked = True
        return super().onConnect(request)

    def onOpen(self) -> None:
        self.drain = Drain(self.transport)
        super().onOpen()

    def connectionLost(self, reason: Any = connectionDone) -> None:
        super().connectionLost(reason)
        # Its HTTP channel is no longer told of that.
        self.factory.server_class.http_factory.connection_ended(self.transport.getPeer())

    def sendHttpErrorResponse(self, code: int, reason: str, responseHeaders: Any = None) -> None:
        """Sends the standard phrase, because Autobahn's reasons repeat what the client sent."""
        super().sendHttpErrorResponse(code, HTTPStatus(code).phrase, responseHeaders)

    # Incoming

    def dataReceived(self, data: bytes) -> None:
        if not self._takes_no_more:
            super().dataReceived(data)

    def processHandshake(self) -> None:
        """Takes one handshake. Autobahn would treat what arrives before the answer as another one,
        and keep all of it."""
        if not self._is_asked:
            super().processHandshake()
        if self._is_asked and self.state == self.STATE_CONNECTING and len(self.data) > MAX_EARLY_BYTES:
            self.dropConnection(abort=True)

    def consumeData(self) -> None:
        """Does the same as Autobahn's, but in slices: tens of thousands of small messages, or data
        that inflates to megabytes, would hold up all other streams. Between slices the socket is
        not read, so the sender has to wait."""
        if self.state == self.STATE_CONNECTING:
            super().consumeData()
            return
        if self._is_paused:
            return
        while self.state != self.STATE_CLOSED and not self._takes_no_more:
            if self._is_slice_spent():
                self._pause()
                return
            self._slice_frames += 1
            if not self.processData():
                return

    def _is_slice_spent(self) -> bool:
        per_second = self.server.settings.upstream_messages_per_second
        if not per_second:
            return False
        now, read_bytes = time.monotonic(), self.trafficStats.incomingOctetsAppLevel
        if now >= self._slice_ends:
            self._slice_ends, self._slice_frames = now + READ_SLICE_SECONDS, 0
            self._slice_begins_at_bytes = read_bytes
        is_spent = self._slice_frames >= max(2, per_second * READ_SLICE_SECONDS)
        return is_spent or read_bytes - self._slice_begins_at_bytes >= READ_SLICE_BYTES

    def _pause(self) -> None:
        self._is_paused = True
        self.transport.pauseProducing()
        self.factory.reactor.callLater(max(0.0, self._slice_ends - time.monotonic()), self._go_on)

    def _go_on(self) -> None:
        self._is_paused = False
        if self.state != self.STATE_CLOSED:
            self.transport.resumeProducing()
            self.consumeData()

    def onPing(self, payload: bytes) -> None:
        """Ignores pings while there is no room: a client that sends pings and reads nothing would
        fill the memory with pongs."""
        if self.drain is None or not self.drain.is_full:
            super().onPing(payload)

    def _max_message_size_exceeded(self, size: int, max_size: int, reason: str) -> None:
        """Closes with a reason. Autobahn would drop the connection without one."""
        self.failedByMe = True
        self._take_no_more(message_too_long(max_size))

    def _fail_connection(self, code: int = 1001, reason: str = "going away") -> None:
        """Closes with a reason when data breaks the rules of WebSockets. Autobahn would drop the
        connection without one, and its own reasons contain parts of the data."""
        if self.state != self.STATE_OPEN:
            super()._fail_connection(code, reason)
            return
        self.failedByMe = True
        self._take_no_more(not_a_websocket(code))

    def _take_no_more(self, how: Closing) -> None:
        """Discards further input and leaves the close to the application, which ends its session
        first."""
        self._takes_no_more = True
        self.data = b""
        self.application_queue.put_nowait({"type": UPSTREAM_REFUSED, "how": how})

    # Outgoing

    async def handle_reply_and_drain(self, message: dict[str, Any]) -> None:
        if message["type"] == SEND_FRAMES:
            for frame in message["frames"]:
                self._send_text(frame)
                if self.drain is not None and self.drain.is_full:
                    await self.drain.wait()
        elif message["type"] == "websocket.close" and self.state == self.STATE_OPEN:
            # Not `sendClose`, which accepts only the codes of applications: 1012 is a server's.
            reason = (message.get("reason") or "").encode()
            self.sendCloseFrame(code=message.get("code") or 1000, reasonUtf8=reason, isReply=False)
        elif message["type"] == "websocket.http.response.start":
            self._denial_status = message["status"]
        elif message["type"] == "websocket.http.response.body":
            self._deny(self._denial_status)
        elif message["type"] == "websocket.send":
            self._send_text(message["text"].encode())
            if self.drain is not None:
                await self.drain.wait()
        else:
            self.handle_reply(message)

    def _deny(self, status: int) -> None:
        """Does the same as Daphne's `serverReject`, but with `status`."""
        if self.state == self.STATE_CONNECTING:
            self.handshake_deferred.errback(ConnectionDeny(code=status, reason=HTTPStatus(status).phrase))
            del self.handshake_deferred
            self.server.protocol_disconnected(self)

    def _send_text(self, frame: bytes) -> None:
        """Sends a frame of any size: Autobahn has one limit for both directions, and ours is for
        incoming messages. Sends nothing once either side has begun to close, which the application
        may learn later."""
        if self.state != self.STATE_OPEN:
            return
        limit, self.maxMessagePayloadSize = self.maxMessagePayloadSize, 0
        try:
            self.sendMessage(frame, False)
        finally:
            self.maxMessagePayloadSize = limit
