"""A server that speaks MongoDB's wire protocol and sends a prescribed change stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from struct import Struct
from typing import Any

import bson
from bson import Int64, Timestamp

from changesource.tables.document_ids import identity_of

_HEADER = Struct("<iiii")
_OP_REPLY, _OP_QUERY, _OP_MSG = 1, 2004, 2013
CURSOR_ID = Int64(7_200_000_000_000_000_001)
HOLD_SECONDS = 0.02
"""How long a reply of a stream that has nothing to give is held back: a server's is a second."""

Document = Mapping[str, Any]


@dataclass(frozen=True)
class Failure:
    """A failure in place of a reply. With `code` None it closes the connection."""

    code: int | None
    name: str = ""
    labels: Sequence[str] = ()

    @property
    def reply(self) -> dict[str, Any]:
        labels = {"errorLabels": list(self.labels)} if self.labels else {}
        return {"ok": 0.0, "errmsg": "scripted", "code": self.code, "codeName": self.name, **labels}


Reply = Sequence[Document] | Failure
"""The reply to one `getMore`: events, or a failure."""


@dataclass
class ScriptedServer:
    """`replies` are the replies to getMore commands, in order; after them there are no more events.
    A stream that is opened again first gets the sent events from its start on. `documents` are what
    look-ups and scans find, by collection."""

    replies: Sequence[Reply] = ()
    documents: Mapping[str, Sequence[Document]] = field(default_factory=dict)
    version: tuple[int, int, int] = (8, 0, 4)
    is_router: bool = False
    opening: Failure | None = None

    def __post_init__(self) -> None:
        self.commands: list[dict[str, Any]] = []
        self.port = 0
        self._left = list(self.replies)
        self._sent: list[tuple[Timestamp, Document]] = []
        self._again: list[Document] = []
        self._is_closed = False

    @property
    def has_ended(self) -> bool:
        """Whether all replies have been sent."""
        return not self._left and not self._again

    def uri(self, database: str) -> str:
        options = "" if self.is_router else "?replicaSet=rs0"
        return f"mongodb://127.0.0.1:{self.port}/{database}{options}"

    async def answer(self, command: dict[str, Any]) -> Document | None:
        """Returns the reply to a command; None closes the connection."""
        (name, *_) = command
        reply: Failure | Document = await self._answers.get(name, self._refuse)(command)
        if isinstance(reply, Failure):
            return None if reply.code is None else reply.reply
        return {"ok": 1.0, **reply, "operationTime": self._now}

    @property
    def _now(self) -> Timestamp:
        return self._sent[-1][0] if self._sent else Timestamp(1_700_000_000, 1)

    @property
    def _answers(self) -> Mapping[str, Callable[[dict[str, Any]], Any]]:
        return {
            **dict.fromkeys(("hello", "ismaster", "isMaster"), self._hello),
            **dict.fromkeys(("ping", "endSessions", "killCursors", "collMod"), self._accept),
            "buildInfo": self._build_info,
            "aggregate": self._aggregate,
            "getMore": self._get_more,
            "find": self._find,
        }

    async def _hello(self, command: dict[str, Any]) -> Document:
        address = f"127.0.0.1:{self.port}"
        kind: dict[str, Any] = {"msg": "isdbgrid"}
        if not self.is_router:
            kind = {"setName": "rs0", "setVersion": 1, "hosts": [address], "me": address, "primary": address}
        limits = {"maxBsonObjectSize": 16 * 2**20, "maxMessageSizeBytes": 48_000_000, "maxWriteBatchSize": 100_000}
        wire = {"minWireVersion": 0, "maxWireVersion": 25, "logicalSessionTimeoutMinutes": 30}
        return {"helloOk": True, "isWritablePrimary": True, "ismaster": True, **kind, **limits, **wire}

    async def _accept(self, command: dict[str, Any]) -> Document:
        return {}

    async def _refuse(self, command: dict[str, Any]) -> Failure:
        return Failure(59, "CommandNotFound")

    async def _build_info(self, command: dict[str, Any]) -> Document:
        return {"version": ".".join(map(str, self.version)), "versionArray": [*self.version, 0]}

    async def _aggregate(self, command: dict[str, Any]) -> Document | Failure:
        self.commands.append(command)
        if self.opening is not None:
            return self.opening
        begin = command["pipeline"][0]["$changeStream"]["startAtOperationTime"]
        self._again = [event for moment, event in self._sent if moment >= begin]
        self._is_closed = False
        return _cursor("firstBatch", [])

    async def _get_more(self, command: dict[str, Any]) -> Document | Failure:
        self.commands.append(command)
        if command["getMore"] != CURSOR_ID or self._is_closed:
            return Failure(43, "CursorNotFound")
        if self._again:
            events, self._again = self._again, []
            return _cursor("nextBatch", events)
        if not self._left:
            await asyncio.sleep(min(command["maxTimeMS"] / 1000, HOLD_SECONDS))
            return _cursor("nextBatch", [])
        reply = self._left.pop(0)
        if isinstance(reply, Failure):
            return reply
        for event in reply:  # only one fragment of an event has the cluster time
            self._sent.append((event.get("clusterTime", self._now), event))
        self._is_closed = bool(reply) and reply[-1].get("operationType") == "invalidate"
        return _cursor("nextBatch", reply, is_open=not self._is_closed)

    async def _find(self, command: dict[str, Any]) -> Document:
        self.commands.append(command)
        found = self.documents.get(command["find"], ())
        if "_id" in command.get("filter", {}):
            wanted = set(map(identity_of, command["filter"]["_id"]["$in"]))
            found = [document for document in found if identity_of(document["_id"]) in wanted]
        return {"cursor": {"id": Int64(0), "ns": f"{command['$db']}.{command['find']}", "firstBatch": list(found)}}


def _cursor(batch: str, events: Sequence[Document], *, is_open: bool = True) -> Document:
    token = {"_data": "8265" + "0" * 20}
    content = {"id": CURSOR_ID if is_open else Int64(0), "ns": "shop.$cmd.aggregate", batch: list(events)}
    return {"cursor": {**content, "postBatchResumeToken": token}}


@asynccontextmanager
async def running(server: ScriptedServer) -> AsyncIterator[ScriptedServer]:
    """Runs the server within the `async with` block."""
    connections: set[asyncio.Task[None]] = set()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(asyncio.current_task())  # type: ignore[arg-type]
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while (reply := await _reply_to(await _read(reader), server)) is not None:
                    writer.write(reply)
                    await writer.drain()
        finally:
            writer.close()

    listener = await asyncio.start_server(connect, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


async def _read(reader: asyncio.StreamReader) -> tuple[int, int, bytes]:
    """Returns the id of a message, its kind, and what follows the header."""
    length, request_id, _, kind = _HEADER.unpack(await reader.readexactly(_HEADER.size))
    return request_id, kind, await reader.readexactly(length - _HEADER.size)


async def _reply_to(message: tuple[int, int, bytes], server: ScriptedServer) -> bytes | None:
    request_id, kind, body = message
    if (
        kind == _OP_QUERY
    ):  # a driver's first message: flags, collection, number to skip, number to return, and the command
        found = await server.answer(bson.decode(body[body.index(0, 4) + 9 :]))
        head, kind = b"\x08" + b"\0" * 15 + b"\x01\0\0\0", _OP_REPLY
    else:
        found = await server.answer(bson.decode(body[5:]))
        head = b"\0" * 5
    if found is None:
        return None
    content = head + bson.encode(found)
    return _HEADER.pack(_HEADER.size + len(content), 0, request_id, kind) + content
