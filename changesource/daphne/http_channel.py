"""Bounds on incoming HTTP requests. By Twisted's own bounds, a header has at most 16 KiB and 500
lines."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from daphne.http_protocol import HTTPFactory, WebRequest
from twisted.internet.protocol import connectionDone
from twisted.web.http import HTTPChannel

from changesource.limits.addresses import UNKNOWN, network_of, normalised
from changesource.limits.bodies import MAX_BODY_BYTES, Body

FLUSH_SECONDS = 60.0
"""How long a client may take to read the rest of an answer before its connection ends."""
MEANINGLESS_HEADERS = (
    b"Daphne-Root-Path",  # sets where the project lives; here, the configuration does
    b"Sec-WebSocket-Protocol",  # Zero uses none, and Daphne fails on one that is not ASCII
)


class BoundedRequest(WebRequest):
    """A request whose body Twisted does not parse in the event loop: Django does that later, if the
    request is allowed."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, parsePOSTFormSubmission=False, **kwargs)

    def process(self) -> Any:
        for name in MEANINGLESS_HEADERS:
            self.requestHeaders.removeHeader(name)
        return super().process()


class BoundedHTTPChannel(HTTPChannel):
    """Limits how long a header may take to arrive, and how large and how slow a body may be. A
    WebSocket handshake has no body."""

    requestFactory = BoundedRequest
    factory: BoundedHTTPFactory
    header_seconds = 0.0
    is_one_too_many = False
    transport: Any
    _deadline: Any = None
    _body: Body | None = None
    _reads_no_more = False

    def connectionMade(self) -> None:
        super().connectionMade()
        if self.is_one_too_many:
            self._reads_no_more = True
            self.transport.abortConnection()
        else:
            self._expect_header()

    def dataReceived(self, data: bytes) -> None:
        if self._reads_no_more:
            return
        super().dataReceived(data)
        self._expect_next_header()

    def requestDone(self, request: Any) -> None:
        super().requestDone(request)
        self._expect_next_header()

    def headerReceived(self, line: bytes) -> bool:
        try:
            return bool(super().headerReceived(line))
        except ValueError:  # a Content-Length with more digits than Python parses
            self._respondToBadRequestAndDisconnect()
            return False

    def allHeadersReceived(self) -> None:
        self._stop_waiting()
        has_body = self.length != 0
        if has_body and self.requests[-1].requestHeaders.hasHeader(b"Upgrade"):
            self._refuse(b"400 Bad Request")
        elif self.length is not None and self.length > MAX_BODY_BYTES:
            self._refuse(b"413 Content Too Large")
        else:
            super().allHeadersReceived()
            self._body = Body(self.header_seconds, time.monotonic()) if has_body else None
            if self._body is not None:
                self._expect_body(self._body)

    def rawDataReceived(self, data: bytes) -> None:
        if self._reads_no_more:
            return
        if self._body is not None and not self._handlingRequest:
            is_small = self._body.take(len(data))
            if self.length is None and not is_small:
                self._refuse(b"413 Content Too Large")
                return
        super().rawDataReceived(data)

    def allContentReceived(self) -> None:
        self._stop_waiting()
        self._body = None
        super().allContentReceived()

    def loseConnection(self) -> None:
        """Stops reading. Twisted would keep what is still to be written for as long as the client
        does not read it."""
        self._reads_no_more = True
        self._stop_waiting()
        self.setTimeout(None)
        if self._abortingCall is None:
            self._abortingCall = self.callLater(FLUSH_SECONDS, self.forceAbortClient)
        super().loseConnection()

    def connectionLost(self, reason: Any = connectionDone) -> None:
        self._stop_waiting()
        super().connectionLost(reason)
        if not self.is_one_too_many:
            self.factory.connection_ended(self.transport.getPeer())

    def _expect_header(self) -> None:
        if self.header_seconds:
            self._deadline = self.callLater(self.header_seconds, self._end_waiting)

    def _expect_next_header(self) -> None:
        """Limits the time of the next header, from the first byte of another request on the same
        connection."""
        is_begun = self.line_mode and (self._buffer or self.requests) and not self._handlingRequest
        if is_begun and self._deadline is None and not self._reads_no_more:
            self._expect_header()

    def _expect_body(self, body: Body) -> None:
        """Checks the body again when it may have become too slow."""
        self._deadline = None
        if body is not self._body or self._reads_no_more or (deadline := body.deadline) is None:
            return
        seconds = deadline - time.monotonic()
        if seconds <= 0:
            self._end_waiting()
        else:
            self._deadline = self.callLater(seconds, lambda: self._expect_body(body))

    def _stop_waiting(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None

    def _end_waiting(self) -> None:
        self._deadline = None
        self._refuse(b"408 Request Timeout")

    def _refuse(self, status: bytes) -> None:
        self.transport.write(b"HTTP/1.1 " + status + b"\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        self.loseConnection()


class BoundedHTTPFactory(HTTPFactory):
    """Daphne's factory, for HTTP/1.1 only, which WebSockets need. It counts the connections of each
    address."""

    protocol = BoundedHTTPChannel

    def __init__(self, server: Any, header_seconds: float, connections_per_address: int) -> None:
        super().__init__(server)
        self._header_seconds = header_seconds
        self._connections_per_address = connections_per_address
        self._connections: Counter[str] = Counter()

    def buildProtocol(self, addr: Any) -> BoundedHTTPChannel:
        channel: BoundedHTTPChannel = super().buildProtocol(addr)
        channel.requestFactory = BoundedRequest
        channel.header_seconds = self._header_seconds
        channel.is_one_too_many = not self._connection_begins(addr)
        return channel

    def acceptableProtocols(self) -> list[bytes]:
        return [b"http/1.1"]

    def connection_ended(self, addr: Any) -> None:
        """To be called once for each connection that was accepted, even if it became a
        WebSocket."""
        network = _network_of(addr)
        self._connections[network] -= 1
        if self._connections[network] <= 0:
            del self._connections[network]

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return self._connections.total()

    def _connection_begins(self, addr: Any) -> bool:
        network = _network_of(addr)
        limit = self._connections_per_address
        if limit and network != UNKNOWN and self._connections[network] >= limit:
            return False
        self._connections[network] += 1
        return True


def _network_of(addr: Any) -> str:
    return network_of(normalised(str(getattr(addr, "host", ""))))
