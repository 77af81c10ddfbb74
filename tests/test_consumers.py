"""The parts of a connection that need no server."""

import asyncio
from typing import Any

import pytest

from changesource import consumers
from changesource.conf import ChangeSourceSettings
from changesource.consumers import ChangeStreamConsumer
from changesource.limits.refusals import RefusalNotes
from changesource.models import client_store
from changesource.models.client_store import Identity, Refused
from changesource.protocol.closing import Closing
from changesource.server import SEND_FRAMES, UPSTREAM_REFUSED
from changesource.streaming.service import StreamService

REVOKED = Closing(4401, "Revoked.")
QUERY = b"token=t&appID=app&shardNum=0"


class Connection:
    """A consumer, and what it sent. Sending frames never ends: nobody reads."""

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
    """Sends for ever."""

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
    monkeypatch.setattr(client_store, "record_refusals", record_refusals)
    return Connection(service)


async def test_a_connection_can_be_ended_while_nobody_reads(connection: Connection) -> None:
    """The first way counts, is said once, and frees the client's slot."""
    async with asyncio.timeout(5):
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
    """And notes why, with its address and without the request."""

    async def authenticate_for_ever(token: str) -> Identity:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(consumers, "authenticate", authenticate_for_ever)
    refusals: RefusalNotes = connection.service.limits.refusals
    async with asyncio.timeout(5):
        await connection.consumer.websocket_connect({})
        connection.consumer.end(REVOKED)
        await connection.is_closed.wait()
    assert connection.types == ["websocket.close"]
    assert [(refused.address, refused.code) for refused in refusals.pending] == [("::1", 4401)]
    await connection.service.limits.close()


async def test_what_the_server_refuses_ends_the_connection(connection: Connection) -> None:
    """With the way that the server says."""
    async with asyncio.timeout(5):
        await connection.consumer.websocket_connect({})
        await connection.is_stalled.wait()
        await connection.consumer.dispatch({"type": UPSTREAM_REFUSED, "how": Closing(1009, "Long.")})
        await connection.is_closed.wait()
    assert connection.sent[-1]["code"] == 1009
    await connection.service.limits.close()
