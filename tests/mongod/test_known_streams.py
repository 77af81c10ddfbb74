"""What MongoDB's own server is known to send: from its replies on the wire to the rows of each
commit."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace

import pytest
from bson import Timestamp

from changesource.errors import ChangeSourceError, HistoryLost, SourceUnreachable, SourceUnusable
from changesource.log.entries import Entry
from changesource.mongo.faults import RESUMABLE
from changesource.mongo.source import Database, Sources, cluster_time_of
from changesource.protocol.watermarks import Position
from changesource.replication.app_source import AppSource
from changesource.replication.entry_reader import EntryReader
from changesource.replication.readings import Lull
from changesource.tables.definition import Column, Table
from tests.mongo.impatience import look_again_soon
from tests.mongod.events import DATABASE, SECONDS, insert
from tests.mongod.known_streams import KNOWN_STREAMS, Change, KnownStream, bern, row
from tests.mongod.scripted_server import Failure, Reply, ScriptedServer, running
from tests.simulation.builders import KnownVersions, table, version
from tests.simulation.replica import frame_summary
from tests.simulation.row_errors import FoundErrors

CITY = table("city", Column("name", "string", optional=True), Column("tags", "json", optional=True))
ITEM = Table(
    name="item",
    columns=(Column("order", "string"), Column("sku", "string")),
    primary_key=("order", "sku"),
    collection="order",
    mapping='{"pipeline": [{"$unwind": "$items"}, {"$project": {"_id": 0, "sku": "$items.sku", "order": "$_id"}}]}',
)
TABLES = version(CITY, replace(CITY, name="old_city", server_name="old_city", collection="old_city"), ITEM)
BEGIN = cluster_time_of(Timestamp(SECONDS, 1))
DEADLINE_SECONDS = 20.0


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    look_again_soon(monkeypatch)


def changes_of(entry: Entry) -> list[Change]:
    """Returns the changes of an entry, in the order of its tables; for a table that is emptied, its
    name."""
    summaries = [(name, frame_summary(frame)) for name, frames in entry.tables.items() for frame in frames.split(b"\n")]
    return [(operation, name if operation == "truncate" else content) for name, (operation, content) in summaries]


class Reader:
    """Reads a server's stream to its end, and opens it again whenever it was interrupted."""

    def __init__(self) -> None:
        self.commits: list[list[Change]] = []
        self.errors = FoundErrors()
        self.interruptions: list[ChangeSourceError] = []
        self.last = Position(BEGIN)

    async def read(self, server: ScriptedServer) -> None:
        sources = Sources({"default": server.uri(DATABASE)})
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                while not await self._read_once(server, sources.database("default")):
                    pass
        finally:
            await sources.close()

    async def _read_once(self, server: ScriptedServer, database: Database) -> bool:
        """Whether it read to the end."""
        reader = EntryReader(
            AppSource(database, KnownVersions(TABLES), self.errors), TABLES, self.last.cluster_time, self.last
        )
        begun: list[Change] = []
        try:
            async with aclosing(reader.readings()) as readings:
                async for reading in readings:
                    if isinstance(reading, Lull):
                        if server.has_ended:
                            return True
                        continue
                    begun += changes_of(reading)
                    if reading.is_final:
                        if begun:
                            self.commits.append(begun)
                        begun, self.last = [], reading.position
        except SourceUnreachable as error:
            self.interruptions.append(error)
        return False


@pytest.mark.parametrize("known", KNOWN_STREAMS, ids=lambda known: known.name)
async def test_a_known_stream_has_the_rows_that_its_source_asks_for(known: KnownStream) -> None:
    """For each commit."""
    server = ScriptedServer(known.replies, known.documents, known.server_version, known.is_router)
    reader = Reader()
    async with running(server):
        await reader.read(server)
    assert reader.commits == [list(commit) for commit in known.commits]
    assert (len(reader.errors), reader.interruptions) == (known.row_errors, [])


async def test_an_event_interrupted_between_fragments_comes_again_whole() -> None:
    """From its first fragment on."""
    (known,) = [each for each in KNOWN_STREAMS if each.name == "fragments in several replies"]
    first, *others = known.replies
    server = ScriptedServer([[BEFORE], first, Failure(189, "PrimarySteppedDown"), *others])
    reader = Reader()
    async with running(server):
        await reader.read(server)
    assert reader.commits == [[row(1, "Bern")], [row(1, "Bern")], [row(1, "big")]]
    assert len(reader.interruptions) == 1


RESUMABLE_LABEL, FATAL_LABEL = "ResumableChangeStreamError", "NonResumableChangeStreamError"
BEFORE, AFTER = insert(1, bern()), insert(2, bern("after"))


async def read_over(failure: Failure, *, at_opening: bool = False) -> Reader:
    replies: Sequence[Reply] = [[BEFORE], failure, [AFTER]]
    server = ScriptedServer(replies, opening=failure if at_opening else None)
    reader = Reader()
    async with running(server):
        await reader.read(server)
    return reader


@pytest.mark.parametrize(
    "failure",
    [
        *[Failure(code) for code in sorted(RESUMABLE)],
        Failure(43, "CursorNotFound"),
        Failure(237, "CursorKilled"),
        Failure(50, "MaxTimeMSExpired"),
        Failure(8_000_000, "NotYetInvented", [RESUMABLE_LABEL]),
        Failure(None),
    ],
    ids=str,
)
async def test_a_stream_continues_after_each_resumable_error(failure: Failure) -> None:
    """Those of the drivers' specification, and a connection that breaks. The stream is opened again
    at its position, and what was read since then comes again."""
    reader = await read_over(failure)
    assert reader.commits[0] == [row(1, "Bern")]
    assert reader.commits[-1] == [row(1, "after")]
    assert len(reader.interruptions) == 1


@pytest.mark.parametrize("at_opening", [True, False])
@pytest.mark.parametrize(
    ("failure", "expected", "said"),
    [
        (Failure(286, "ChangeStreamHistoryLost", [FATAL_LABEL]), HistoryLost, "286"),
        (Failure(280, "ChangeStreamFatalError", [FATAL_LABEL]), HistoryLost, "280"),
        (Failure(260, "InvalidResumeToken"), HistoryLost, "260"),
        (Failure(136, "CappedPositionLost"), HistoryLost, "136"),
        (Failure(10334, "BSONObjectTooLarge"), SourceUnusable, "16 MB"),
        (Failure(13, "Unauthorized"), SourceUnusable, "may not"),
        (Failure(8000, "AtlasError"), SourceUnusable, "8000"),
    ],
    ids=str,
)
async def test_other_errors_end_the_stream(
    failure: Failure, expected: type[ChangeSourceError], said: str, *, at_opening: bool
) -> None:
    """The app then starts over, or a person has to act (error_codes.yml of the server: the category
    NonResumableChangeStreamError)."""
    with pytest.raises(expected, match=said):
        await read_over(failure, at_opening=at_opening)
