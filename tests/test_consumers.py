"""The parts of a connection that need no server."""

import asyncio
from typing import Any

import pytest

from changesource import consumers
from changesource.asgi_extensions import SEND_FRAMES, UPSTREAM_REFUSED
from changesource.conf import ChangeSourceSettings
from changesource.consumers import ChangeStreamConsumer
from changesource.limits.refusals import RefusalNotes
from changesource.models import queries
from changesource.models.queries.clients import Identity
from changesource.models.queries.refusals import Refused
from changesource.protocol.closing import Closing
from changesource.service import StreamService

REVOKED = Closing(4401, "Revoked.", refusal="Revoked.")
QUERY = b"token=t&appID=app&shardNum=0"


class Connection:
    """A consumer, and what it has sent. Sending frames never ends, as the client reads nothing."""

    def __init__(self, service: StreamService) -> None:
        self.consumer = ChangeStreamConsumer()
        self.consumer.scope = {
            "path": consumers.STREAM_PATH,
            "headers": [],
            "query_string": QUERY,
            "client": ["::1", 1],
            "extensions": {SEND_FRAMES: {}},
        }
        self.consumer.base_send = self._send
        self.service = service
        self.sent: list[dict[str, Any]] = []
        self.is_stalled = asyncio.Event()
        self.is_closed = asyncio.Event()

    async def _send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)
        if message["type"] == SEND_FRAMES:
            self.is_stalled.set()
            await asyncio.Event().wait()
        if message["type"] == "websocket.close":
            self.is_closed.set()

    @property
    def types(self) -> list[str]:
        return [message["type"] for message in self.sent]


class EndlessSession:
    """Sends without end."""

    def __init__(
        self, service: StreamService, request: object, client: Identity, outlet: ChangeStreamConsumer, end: object
    ) -> None:
        self._outlet = outlet

    async def run(self) -> Closing | None:
        await self._outlet.send_frames([b"{}"])
        return None


@pytest.fixture
async def connection(monkeypatch: pytest.MonkeyPatch) -> Connection:
    service = StreamService(ChangeSourceSettings(streams_per_client=1))

    async def running_service() -> StreamService:
        return service

    async def authenticate(token: str) -> Identity:
        return Identity(1, "tenant")

    async def record_refusals(counts: dict[Refused, int]) -> None:
        recorded.update(counts)

    recorded: dict[Refused, int] = {}
    monkeypatch.setattr(consumers, "running_service", running_service)
    monkeypatch.setattr(consumers, "authenticate", authenticate)
    monkeypatch.setattr(consumers, "Session", EndlessSession)
    monkeypatch.setattr(queries.refusals, "record_refusals", record_refusals)
    return Connection(service)


async def test_a_connection_that_is_not_read_can_be_ended(connection: Connection) -> None:
    """The first reason counts and is told once, and the client's slot is released."""
    async with asyncio.timeout(20):
        await connection.consumer.websocket_connect({})
        await connection.is_stalled.wait()
        connection.consumer.end(REVOKED)
        connection.consumer.end(Closing(1011, "Later."))
        await connection.is_closed.wait()
        assert connection.sent[-1] == {"type": "websocket.close", "code": 4401, "reason": "Revoked."}
        connection.consumer.end(REVOKED)
        with pytest.raises(consumers.StopConsumer):
            await connection.consumer.websocket_disconnect({})
        async with connection.service.limits.stream_slot(1):
            pass
    assert connection.types.count("websocket.close") == 1
    await connection.service.limits.close()


async def test_a_connection_can_be_ended_before_it_is_accepted(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refusal is noted with its address and without the request."""

    async def authenticate_for_ever(token: str) -> Identity:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(consumers, "authenticate", authenticate_for_ever)
    refusals: RefusalNotes = connection.service.limits.refusals
    async with asyncio.timeout(20):
        await connection.consumer.websocket_connect({})
        connection.consumer.end(REVOKED)
        await connection.is_closed.wait()
    assert connection.types == ["websocket.close"]
    assert [(refused.address, refused.code, refused.reason) for refused in refusals.pending] == [
        ("::1", 4401, "Revoked.")
    ]
    await connection.service.limits.close()


async def test_a_message_that_the_server_refuses_ends_the_connection(connection: Connection) -> None:
    """With the close code of the server."""
    async with asyncio.timeout(20):
        await connection.consumer.websocket_connect({})
        await connection.is_stalled.wait()
        await connection.consumer.dispatch({"type": UPSTREAM_REFUSED, "how": Closing(1009, "Long.")})
        await connection.is_closed.wait()
    assert connection.sent[-1]["code"] == 1009
    await connection.service.limits.close()


class OtherServer:
    """An ASGI server other than ours: what it was sent, and how it reacts."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        connection.consumer.scope["extensions"] = {}
        connection.consumer.base_send = self._send
        self.takes_close = asyncio.Event()
        self.error: Exception | None = None

    async def _send(self, message: dict[str, Any]) -> None:
        self.connection.sent.append(message)
        if message["type"] == "websocket.send":
            self.connection.is_stalled.set()
            if self.error is not None:
                raise self.error
            await asyncio.Event().wait()
        if message["type"] == "websocket.close":
            self.connection.is_closed.set()
            await self.takes_close.wait()


@pytest.mark.parametrize("error", [OSError("gone"), RuntimeError("after 'websocket.close'")])
async def test_another_server_reports_that_the_client_has_gone(
    connection: Connection, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    """With an exception, as ASGI specifies, or as uvicorn does. It is not logged as a fault, and
    the client's slot is released."""
    other = OtherServer(connection)
    other.error = error
    async with asyncio.timeout(20):
        await connection.consumer.websocket_connect({})
        await connection.is_stalled.wait()
        await asyncio.wait([connection.consumer._task])
        async with connection.service.limits.stream_slot(1):
            pass
    assert connection.consumer._task.exception() is None
    assert "a stream failed" not in caplog.text
    await connection.service.limits.close()


async def test_another_server_waits_for_a_client_that_reads_nothing(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """uvicorn does, without end. The client's slot is released all the same."""
    monkeypatch.setattr(consumers, "CLOSE_SECONDS", 0.01)
    OtherServer(connection)
    async with asyncio.timeout(20):
        await connection.consumer.websocket_connect({})
        await connection.is_stalled.wait()
        connection.consumer.end(REVOKED)
        assert connection.consumer._ending is not None
        await asyncio.wait([connection.consumer._ending])
        async with connection.service.limits.stream_slot(1):
            pass
    await connection.service.limits.close()


@pytest.mark.parametrize("kind", ["text", "bytes"])
async def test_a_long_message_that_another_server_accepts_ends_the_connection(
    connection: Connection, kind: str
) -> None:
    """As our own server does."""
    other = OtherServer(connection)
    other.takes_close.set()
    async with asyncio.timeout(20):
        await connection.consumer.websocket_connect({})
        await connection.is_stalled.wait()
        long = "x" * 65_537
        await connection.consumer.websocket_receive({kind: long if kind == "text" else long.encode()})
        await connection.is_closed.wait()
    assert connection.sent[-1]["code"] == 1009
    assert "65536" in connection.sent[-1]["reason"]
    await connection.service.limits.close()
