"""HTTP requests as they come in, bounded. Of Twisted's own bounds, a header has at most 16 KiB and 500 lines."""

from __future__ import annotations

from typing import Any

from daphne.http_protocol import HTTPFactory, WebRequest
from twisted.internet.protocol import connectionDone
from twisted.web.http import HTTPChannel

MAX_BODY_BYTES = 32 * 2**20
"""Of a form in admin. Daphne has all of a body in memory."""


class BoundedHTTPChannel(HTTPChannel):
    """A header has to be there in time, however slowly it comes; a body has a longest size, and a WebSocket has none."""

    requestFactory = WebRequest
    header_seconds = 0.0
    transport: Any
    _deadline: Any = None
    _body_bytes = 0
    _is_refused = False

    def connectionMade(self) -> None:
        super().connectionMade()
        self._expect_header()

    def dataReceived(self, data: bytes) -> None:
        if not self._is_refused:
            super().dataReceived(data)

    def lineReceived(self, line: bytes) -> None:
        if self._deadline is None:
            self._expect_header()  # of another request on the same connection, whose first line this is
        super().lineReceived(line)

    def allHeadersReceived(self) -> None:
        self._stop_waiting()
        self._body_bytes = 0
        super().allHeadersReceived()
        has_body = self.length != 0
        if has_body and self.requests[-1].requestHeaders.hasHeader(b"Upgrade"):
            self._refuse(b"400 Bad Request")
        elif self.length is not None and self.length > MAX_BODY_BYTES:
            self._refuse(b"413 Content Too Large")

    def rawDataReceived(self, data: bytes) -> None:
        if self._is_refused:
            return
        if not self._handlingRequest:
            self._body_bytes += len(data)
            if self._body_bytes > MAX_BODY_BYTES:
                self._refuse(b"413 Content Too Large")
                return
        super().rawDataReceived(data)

    def connectionLost(self, reason: Any = connectionDone) -> None:
        self._stop_waiting()
        super().connectionLost(reason)

    def _expect_header(self) -> None:
        if self.header_seconds:
            self._deadline = self.callLater(self.header_seconds, self._end_waiting)

    def _stop_waiting(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None

    def _end_waiting(self) -> None:
        self._deadline = None
        self._refuse(b"408 Request Timeout")

    def _refuse(self, status: bytes) -> None:
        self._is_refused = True
        self.transport.write(b"HTTP/1.1 " + status + b"\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        self.loseConnection()


class BoundedHTTPFactory(HTTPFactory):
    """Daphne's, for HTTP/1.1 only, which is what WebSockets need."""

    protocol = BoundedHTTPChannel

    def __init__(self, server: Any, header_seconds: float) -> None:
        super().__init__(server)
        self._header_seconds = header_seconds

    def buildProtocol(self, addr: Any) -> BoundedHTTPChannel:
        channel: BoundedHTTPChannel = super().buildProtocol(addr)
        channel.header_seconds = self._header_seconds
        return channel

    def acceptableProtocols(self) -> list[bytes]:
        return [b"http/1.1"]
