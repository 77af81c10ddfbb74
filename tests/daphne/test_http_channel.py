"""changesource/daphne/http_channel.py, with a transport and a clock of the tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from changesource.daphne import http_channel
from changesource.daphne.http_channel import FLUSH_SECONDS, BoundedHTTPChannel, BoundedHTTPFactory

SECONDS = 10
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: localhost\r\n"


class Server:
    """What Daphne's requests need of their server. It never answers."""

    root_path = ""
    proxy_forwarded_address_header = None
    request_buffer_size = 8192

    def __init__(self) -> None:
        self.scopes: list[dict[str, Any]] = []

    def protocol_connected(self, protocol: Any) -> None:
        """Nothing is counted here."""

    protocol_disconnected = protocol_connected

    def create_application(self, protocol: Any, scope: dict[str, Any]) -> None:
        self.scopes.append(scope)


class Site:
    """A factory, its clock, and its connections."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, connections_per_address: int = 0, seconds: float = SECONDS
    ) -> None:
        self.clock = Clock()
        self.server = Server()
        self.channels: list[BoundedHTTPChannel] = []
        self.factory = BoundedHTTPFactory(self.server, seconds, connections_per_address)
        self.factory.reactor = self.clock
        monkeypatch.setattr(http_channel.time, "monotonic", self.clock.seconds)

    def connect(self, host: str = "192.0.2.1") -> BoundedHTTPChannel:
        address = (IPv6Address if ":" in host else IPv4Address)("TCP", host, 4711)
        channel = self.factory.buildProtocol(address)
        channel.makeConnection(Transport(channel, address))
        self.channels.append(channel)
        return channel

    def close(self) -> None:
        for channel in self.channels:
            channel.transport.abortConnection()


class Transport(StringTransport):
    """Ends when it is told to, unless there is still something to write that the client does not
    read."""

    is_read = True
    is_ended = False

    def __init__(self, channel: BoundedHTTPChannel, peer: Any) -> None:
        super().__init__(peerAddress=peer)
        self._channel = channel

    def loseConnection(self) -> None:
        super().loseConnection()
        if self.is_read:
            self.abortConnection()

    def abortConnection(self) -> None:
        if not self.is_ended:
            self.is_ended = True
            self._channel.connectionLost()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    site = Site(monkeypatch)
    yield site
    site.close()


def send(channel: BoundedHTTPChannel, data: bytes) -> None:
    if not channel.transport.is_ended:
        channel.dataReceived(data)


def status(channel: BoundedHTTPChannel) -> bytes:
    return bytes(channel.transport.value()[9:12])


@pytest.mark.parametrize("part", [b"", b"G", GET[:-2]])
def test_a_header_has_a_deadline(site: Site, part: bytes) -> None:
    """However much of it has arrived."""
    channel = site.connect()
    send(channel, part)
    site.clock.advance(SECONDS - 0.1)
    assert status(channel) == b""
    site.clock.advance(0.2)
    assert status(channel) == b"408"
    assert channel.transport.is_ended


@pytest.mark.parametrize("pause", [1, 4.9])
def test_a_body_has_a_minimum_rate(site: Site, pause: float) -> None:
    """A byte every now and then is too slow."""
    channel = site.connect()
    send(channel, POST + b"Content-Length: 1000\r\n\r\n")
    while not status(channel) and site.clock.seconds() < 60:
        site.clock.advance(pause)
        send(channel, b"x")
    assert status(channel) == b"408"
    assert site.clock.seconds() <= SECONDS + pause


def test_a_body_has_a_last_deadline(site: Site) -> None:
    """Even if it arrives at the minimum rate."""
    channel = site.connect()
    send(channel, POST + b"Content-Length: 3000000\r\n\r\n")
    while not status(channel) and site.clock.seconds() < 200:
        site.clock.advance(1)
        send(channel, b"x" * 2_000)
    assert status(channel) == b"408"
    assert site.clock.seconds() == SECONDS + 60


def test_a_body_in_time_is_passed_on(site: Site) -> None:
    """No deadline remains."""
    channel = site.connect()
    send(channel, POST + b"Content-Length: 60000\r\n\r\n")
    for _ in range(30):
        site.clock.advance(1)
        send(channel, b"x" * 2_000)
    assert len(site.server.scopes) == 1
    site.clock.advance(10_000)
    assert status(channel) == b""


def test_zero_is_no_limit_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A header and a body may take as long as Twisted's own timeout allows."""
    site = Site(monkeypatch, seconds=0)
    channel = site.connect()
    for byte in POST + b"Content-Length: 2\r\n\r\nxx":
        site.clock.advance(50)
        send(channel, bytes([byte]))
    assert len(site.server.scopes) == 1


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (b"Content-Length: 3145729\r\n\r\n", b""),
        (b"Content-Length: 3145729\r\nExpect: 100-continue\r\n\r\n", b""),
        (b"Transfer-Encoding: chunked\r\n\r\n", (b"10000\r\n" + b"x" * 2**16 + b"\r\n") * 49),
    ],
)
def test_a_body_that_is_too_large_is_refused(site: Site, headers: bytes, body: bytes) -> None:
    """With 413. A client that expects `100 Continue` does not get it."""
    channel = site.connect()
    send(channel, POST + headers)
    send(channel, body)
    assert channel.transport.value().startswith(b"HTTP/1.1 413 ")
    assert site.server.scopes == []


def test_data_after_a_body_does_not_count_as_body(site: Site) -> None:
    """The largest body and the next request arrive together."""
    channel = site.connect()
    send(channel, POST + b"Content-Length: 3145728\r\n\r\n")
    send(channel, b"x" * 3145728 + GET)
    assert len(site.server.scopes) == 1
    assert status(channel) == b""


def test_a_length_of_5000_digits_is_a_bad_request(site: Site) -> None:
    """Python does not parse such a number."""
    channel = site.connect()
    send(channel, POST + b"Content-Length: " + b"9" * 5_000 + b"\r\n\r\n")
    assert status(channel) == b"400"


def test_twisted_parses_no_form(site: Site) -> None:
    """It would do so in the event loop: a million fields."""
    channel = site.connect()
    send(channel, POST + b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 7\r\n\r\na=1&b=2")
    assert channel.requests[0].args == {}


@pytest.mark.parametrize("value", [b"/healthz", b"//evil.example.com", b"\xff"])
def test_the_root_path_of_a_header_is_ignored(site: Site, value: bytes) -> None:
    """Even one that Daphne could not read."""
    channel = site.connect()
    send(channel, b"GET / HTTP/1.1\r\nHost: localhost\r\ndAPHNE-rOOT-pATH: " + value + b"\r\n\r\n")
    assert [scope["root_path"] for scope in site.server.scopes] == [""]


def test_an_answer_that_the_client_does_not_read_is_dropped(site: Site) -> None:
    """After a while."""
    channel = site.connect()
    channel.transport.is_read = False
    send(channel, b"nonsense\r\n")
    assert status(channel) == b"400"
    site.clock.advance(FLUSH_SECONDS - 1)
    assert not channel.transport.is_ended
    site.clock.advance(2)
    assert channel.transport.is_ended


def test_connections_are_counted_by_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """An IPv6 /64 is one address. A connection too many ends unread, and is not counted."""
    site = Site(monkeypatch, connections_per_address=2)
    channels = [site.connect("2001:db8::1"), site.connect("2001:db8::2")]
    third = site.connect("2001:db8::3")
    assert third.transport.is_ended
    assert third.transport.value() == b""
    assert not site.connect("192.0.2.1").transport.is_ended
    assert site.factory.connections == 3
    channels[0].transport.abortConnection()
    assert not site.connect("2001:db8::4").transport.is_ended
    assert site.connect("2001:db8::5").transport.is_ended


def test_an_ended_connection_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the memory for counting is bounded."""
    site = Site(monkeypatch, connections_per_address=1)
    for i in range(300):
        site.connect(f"10.0.{i // 256}.{i % 256}").transport.abortConnection()
    assert site.factory.connections == 0
    assert len(site.factory._connections) == 0
    assert site.clock.getDelayedCalls() == []
