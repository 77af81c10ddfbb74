"""A WebSocket proxy between zero-cache and the change source that keeps every frame it passes on."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import websockets
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve


@dataclass
class Connection:
    """One connection of zero-cache: its query, and the text frames that it was sent. `opened_at`: by `time.monotonic`."""

    query: dict[str, list[str]]
    frames: list[str] = field(default_factory=list)
    opened_at: float = field(default_factory=time.monotonic)

    @property
    def last_watermark(self) -> str:
        return self.query.get("lastWatermark", [""])[0]

    def transactions(self) -> Iterator["Transaction"]:
        """The whole transactions that it was sent, in order."""
        open_transaction: Transaction | None = None
        for frame in self.frames:
            message = json.loads(frame)
            match message[0]:
                case "begin":
                    assert open_transaction is None, "a begin within a transaction"
                    open_transaction = Transaction(message[2]["commitWatermark"])
                case "rollback":
                    assert open_transaction is not None, "a rollback outside of a transaction"
                    open_transaction = None
                case "data":
                    assert open_transaction is not None, "data outside of a transaction"
                    open_transaction.changes.append(message[1])
                case "commit":
                    assert open_transaction is not None, "a commit outside of a transaction"
                    assert message[2]["watermark"] == open_transaction.watermark
                    yield open_transaction
                    open_transaction = None


@dataclass
class Transaction:
    """What came between one begin and one commit."""

    watermark: str
    changes: list[dict[str, Any]] = field(default_factory=list)


class RecordingProxy:
    """Listens on a free port of 127.0.0.1 in a thread of its own. `target` may be changed: new connections go there.

    With `hold_at`, the next frame that it holds for is not passed on, nor anything after it on that connection, until `go_on`
    passes all of it on, or `release` ends the connection without it; `is_held` is set from then on, and cleared by `hold`.

    With `kept_frames`, only so many of the last frames are kept, and only those of the latest two connections.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self.connections: list[Connection] = []
        self.kept_frames: int | None = None
        self.hold_at: Callable[[str], bool] | None = None
        self.is_held = threading.Event()
        self._released = asyncio.Event()
        self._goes_on = False
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),), name="proxy")
        self.port = 0

    def __enter__(self) -> "RecordingProxy":
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()

    def hold(self, at: Callable[[str], bool]) -> None:
        """`hold_at`, also where it has held before."""
        self.is_held.clear()
        self.hold_at = at

    def go_on(self) -> None:
        self._goes_on = True
        self._loop.call_soon_threadsafe(self._released.set)

    def release(self) -> None:
        self._goes_on = False
        self._loop.call_soon_threadsafe(self._released.set)

    def stream_url(self) -> str:
        """`target` by way of this proxy."""
        parts = urlsplit(self.target)
        credentials = f"{parts.username}:{parts.password}@" if parts.username else ""
        return f"ws://{credentials}127.0.0.1:{self.port}{parts.path}"

    @property
    def frames(self) -> list[str]:
        """All frames, over all connections."""
        return [frame for connection in self.connections for frame in connection.frames]

    async def _run(self) -> None:
        async with serve(self._pass_on, "127.0.0.1", 0, max_size=None, compression=None, ping_interval=None) as server:
            self.port = next(iter(server.sockets)).getsockname()[1]
            self._ready.set()
            await self._stop.wait()

    async def _pass_on(self, downstream: ServerConnection) -> None:
        assert downstream.request is not None
        target = urlsplit(self.target)
        path = urlsplit(downstream.request.path)
        connection = Connection(parse_qs(path.query))
        headers = {}
        if authorization := downstream.request.headers.get("Authorization"):
            headers["Authorization"] = authorization
        url = f"ws://{target.hostname}:{target.port}{downstream.request.path}"
        try:
            upstream = await connect(
                url, additional_headers=headers, max_size=None, ping_interval=None, compression=None, open_timeout=30
            )
        except (OSError, websockets.WebSocketException, TimeoutError):
            return
        self.connections.append(connection)
        if self.kept_frames is not None:
            for ended in self.connections[:-2]:
                ended.frames.clear()

        async def upwards() -> None:
            async for message in downstream:
                await upstream.send(message)

        async def downwards() -> None:
            async for message in upstream:
                assert isinstance(message, str)
                if self.hold_at is not None and self.hold_at(message):
                    self.hold_at = None
                    self._released.clear()
                    self.is_held.set()
                    await self._released.wait()
                    if not self._goes_on:
                        async for _ in upstream:  # reads to the end, without which it cannot be closed
                            pass
                        return
                connection.frames.append(message)
                if self.kept_frames is not None and len(connection.frames) >= 2 * self.kept_frames:
                    del connection.frames[: -self.kept_frames]
                await downstream.send(message)

        tasks = [asyncio.create_task(upwards()), asyncio.create_task(downwards())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await upstream.close()
        code = upstream.close_code or 1011
        await downstream.close(
            code if code in (1000, 1011, 1012) or code >= 3000 else 1011, upstream.close_reason or ""
        )
