"""Documents that MongoDB stores and PyMongo does not decode. The embedded MongoDB refuses them, so
a proxy makes them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

from bson import Binary

from changesource.mongo.source import Database, Sources
from tests.given_mongodb import PLAIN_CONNECTION, skip_if_given
from zerosources.embedded.servers import MongoServer

WRONG_BINARY = b"\x02\0\0\0\x02ab"
"""The value of a binary of subtype 2: its first bytes should be a second length, and there are
two."""

SPOILT = Binary(b"to be spoilt", 2)
"""A value whose second length the proxy makes wrong."""
_SENT = b"\x10\0\0\0\x02\x0c\0\0\0to be spoilt"
_SPOILT = b"\x10\0\0\0\x02\xff\0\0\0to be spoilt"


def undecodable_field(name: str) -> bytes:
    """Returns an element of a document: type, name and value."""
    return b"\x05" + name.encode() + b"\0" + WRONG_BINARY


def document_of(*elements: bytes) -> bytes:
    content = b"".join(elements)
    return (len(content) + 5).to_bytes(4, "little") + content + b"\0"


@asynccontextmanager
async def spoilt(server: MongoServer, database: Database) -> AsyncIterator[Database]:
    """Yields the same database, read through a proxy that makes each `SPOILT` undecodable."""
    skip_if_given(PLAIN_CONNECTION)
    address = urlsplit(server.uri())
    connections: set[asyncio.Task[None]] = set()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(asyncio.current_task())  # type: ignore[arg-type]
        upstream_reader, upstream_writer = await asyncio.open_connection(address.hostname, address.port)
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                await asyncio.gather(_pass_on(reader, upstream_writer), _pass_on(upstream_reader, writer, spoils=True))
        finally:
            for each in (writer, upstream_writer):
                each.close()

    proxy = await asyncio.start_server(connect, "127.0.0.1", 0)
    port = proxy.sockets[0].getsockname()[1]
    sources = Sources({"default": f"mongodb://127.0.0.1:{port}/{database.name}?directConnection=true"})
    try:
        yield sources.database("default")
    finally:
        await sources.close()
        proxy.close()
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, spoils: bool = False) -> None:
    """Passes on whole messages of MongoDB's wire protocol, each of which begins with its length."""
    while True:
        head = await reader.readexactly(4)
        message = head + await reader.readexactly(int.from_bytes(head, "little") - 4)
        writer.write(message.replace(_SENT, _SPOILT) if spoils else message)
        await writer.drain()
