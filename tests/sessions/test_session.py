"""session.py: what a snapshot waits for, what makes it come to nothing, and what a stream does not pass on."""

import asyncio
import random
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from changesource.errors import SourceReadOnly
from changesource.log.entries import Entry, EntryId
from changesource.models import Client
from changesource.models import Replica as RegisteredReplica
from changesource.models.queries.clients import Identity
from changesource.mongo.markers import MARKERS_COLLECTION, write_access_marker
from changesource.mongo.source import current_cluster_time
from changesource.operations.publisher import publish_app
from changesource.protocol import closing
from changesource.protocol.closing import Closing
from changesource.protocol.requests import StreamRequest
from changesource.protocol.watermarks import Position
from changesource.replication.feed import Feed
from changesource.replication.readings import Lull, Reading
from changesource.sessions import acknowledgements, barrier, client_access, source_clock
from changesource.sessions import session as session_module
from changesource.sessions import snapshot as snapshot_module
from changesource.sessions import stream as stream_module
from changesource.sessions.session import Session
from tests.faults.sessions import ChangeSource, Replica, ToldReplica
from tests.models.builders import build_table, set_grant

pytestmark = pytest.mark.django_db(transaction=True)

SOON_SECONDS = 20.0
AHEAD_SECONDS = 2


async def acknowledged_ahead(source: ChangeSource, seconds: int) -> Position:
    """Where a registered replica of the client says it is: as many seconds ahead of the source."""
    await source.take_snapshot(Replica())
    ahead = Position(await current_cluster_time(source.database) + (seconds << 32))
    await sync_to_async(RegisteredReplica.objects.update)(acknowledged=ahead.watermark)
    return ahead


# A snapshot


@pytest.mark.usefixtures("any_source")
async def test_a_snapshot_begins_after_what_the_client_has_had(source: ChangeSource) -> None:
    """It waits for the clock of a source that took the place of another: to zero-cache, an earlier watermark is older."""
    ahead = await acknowledged_ahead(source, AHEAD_SECONDS)
    replica = Replica()
    async with asyncio.timeout(SOON_SECONDS):
        assert await source.take_snapshot(replica) == closing.snapshot_sent()
    assert replica.replica_version is not None
    assert replica.replica_version > ahead


@pytest.mark.usefixtures("any_source")
async def test_a_snapshot_does_not_wait_forever_for_a_clock(
    source: ChangeSource, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A clock that is far behind is waited for a while, and the log says what follows from going on."""
    monkeypatch.setattr(source_clock, "CLOCK_BEHIND_SECONDS", 0.1)
    await acknowledged_ahead(source, 10**6)
    async with asyncio.timeout(SOON_SECONDS):
        assert await source.take_snapshot(Replica()) == closing.snapshot_sent()
    assert "seconds behind that of a former one" in caplog.text


async def test_a_snapshot_of_a_source_that_is_replaced_meanwhile_is_not_committed(
    source: ChangeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows may be of two databases: nothing is committed, nothing is registered, and zero-cache is told why."""
    monkeypatch.setattr(closing, "RESET_DELAY_SECONDS", 0)
    replica = ToldReplica()

    async def replace() -> None:
        await source.database[MARKERS_COLLECTION].update_one(
            {"_id": f"source:{source.app.app_id}"}, {"$set": {"source": "a" * 32}}
        )

    replica.on_frames = replace
    async with asyncio.timeout(SOON_SECONDS):
        assert await source.take_snapshot(replica) is None
    assert "another database" in replica.told.result()["message"]
    assert replica.tables == {}
    assert not await RegisteredReplica.objects.aexists()


async def test_revoking_a_client_ends_its_snapshot(source: ChangeSource) -> None:
    """The snapshot is ended as a stream is, wherever it is."""
    replica = Replica()
    is_loading = asyncio.Event()
    ended: asyncio.Future[Closing] = asyncio.get_running_loop().create_future()

    async def hold() -> None:
        is_loading.set()
        await asyncio.Event().wait()

    replica.on_frames = hold
    request = StreamRequest(source.app.app_id, 0, (), None)
    identity = Identity(source.client.pk, source.client.name)
    session = Session(source.service, request, identity, replica, ended.set_result)
    task = asyncio.create_task(session.run())
    async with asyncio.timeout(SOON_SECONDS):
        await is_loading.wait()
        await Client.objects.aupdate(is_active=False)
        how = await ended
    assert how.code == closing.revoked().code
    task.cancel()
    await asyncio.wait([task])


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A marker has to come back soon, and a refusal is told at once."""
    monkeypatch.setattr(barrier, "BARRIER_SECONDS", 0.2)
    monkeypatch.setattr(closing, "REFUSAL_DELAY_SECONDS", 0)


class MutedFeed(Feed):
    """A feed that has nothing any more, after a publish or from the beginning."""

    is_muted = True

    async def readings(self) -> AsyncGenerator[Reading, None]:
        async with aclosing(super().readings()) as readings:
            while not self.is_muted:
                reading = await anext(readings)
                yield reading
                self.is_muted = isinstance(reading, Entry) and reading.is_publish
        while True:
            yield Lull()
            await asyncio.sleep(0.01)


async def test_a_snapshot_gives_up_a_marker_that_does_not_come_back(
    source: ChangeSource, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, hurried: None
) -> None:
    """It is not waited for without an end: the connection is closed, and the log says what to look at."""
    monkeypatch.setattr(session_module, "Feed", MutedFeed)
    async with asyncio.timeout(SOON_SECONDS):
        assert await source.take_snapshot(Replica()) == closing.source_unavailable()
    assert "did not come back" in caplog.text


@pytest.fixture
def one_position(monkeypatch: pytest.MonkeyPatch) -> None:
    """All snapshots begin at the same position, as those do that see their markers in one transaction."""
    at: list[int] = []

    async def refuse(*arguments: Any) -> str:
        raise SourceReadOnly("The user of the URI may not do this.")

    async def same(database: Any) -> int:
        at.append(at[0] if at else await current_cluster_time(database))
        return at[0]

    monkeypatch.setattr(barrier, "write_marker", refuse)
    monkeypatch.setattr(snapshot_module, "majority_cluster_time", same)


@pytest.mark.usefixtures("one_position")
async def test_snapshots_that_begin_at_once_have_different_positions(
    source: ChangeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither is registered when the other begins, and yet each has a position of its own: what is registered of one would be
    taken for the other's."""
    monkeypatch.setattr(secrets, "randbelow", random.Random("two").randrange)
    replicas = [Replica(), Replica()]
    have_both_begun = asyncio.Barrier(2)
    for replica in replicas:

        async def meet(replica: Replica = replica) -> None:
            replica.on_frames = None
            await have_both_begun.wait()

        replica.on_frames = meet
    async with asyncio.timeout(SOON_SECONDS):
        await asyncio.gather(*map(source.take_snapshot, replicas))
    first, second = (replica.replica_version for replica in replicas)
    assert first is not None
    assert second is not None
    assert first.cluster_time == second.cluster_time
    assert first != second
    assert await RegisteredReplica.objects.acount() == 2


@pytest.mark.usefixtures("one_position")
async def test_a_position_that_is_taken_is_not_taken_again(
    source: ChangeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is drawn."""
    draws = iter([3, 3, 4])
    monkeypatch.setattr(secrets, "randbelow", lambda end: next(draws))
    ordinals = []
    for replica in (Replica(), Replica()):
        await source.take_snapshot(replica)
        assert replica.replica_version is not None
        ordinals.append(replica.replica_version.ordinal)
    assert ordinals == [3, 4]


# A stream


@pytest.mark.parametrize(("number", "how"), [(2, closing.source_unavailable()), (0, closing.going_away())])
async def test_what_another_version_rendered_is_not_passed_on(
    source: ChangeSource, monkeypatch: pytest.MonkeyPatch, number: int, how: Closing
) -> None:
    """An entry of a version that came without its publish ends the stream; one from before a publish is passed over."""
    monkeypatch.setattr(closing, "REFUSAL_DELAY_SECONDS", 0)
    replica = Replica()
    await source.take_snapshot(replica)
    rows = b'["data",{"tag":"insert","relation":{"schema":"public","name":"city"},"new":{"_id":2}}]'
    position = Position(await current_cluster_time(source.database) + (1 << 32))
    entry = Entry(EntryId(position), int(time.time() * 1000), {"city": rows}, version=number)

    class OneEntry:
        """A feed that has nothing else."""

        def __init__(self, *arguments: Any) -> None:
            self.position = position

        async def readings(self) -> AsyncIterator[Entry]:
            yield entry

    monkeypatch.setattr(session_module, "Feed", OneEntry)
    rows_before = replica.rows_taken
    replica.connect(source.session(replica))
    async with asyncio.timeout(SOON_SECONDS):
        assert await replica.session.run() == how
    assert replica.rows_taken == rows_before


async def test_a_transition_gives_up_a_marker_that_does_not_come_back(
    source: ChangeSource, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, hurried: None
) -> None:
    """As in a snapshot; the replica keeps what it has."""
    replica = Replica()
    await source.take_snapshot(replica)
    monkeypatch.setattr(MutedFeed, "is_muted", False)
    monkeypatch.setattr(session_module, "Feed", MutedFeed)
    replica.connect(source.session(replica))
    stream = asyncio.create_task(replica.session.run())
    await source.database.city.insert_one({"_id": 2})
    await replica.until(lambda: replica.rows_taken == 2)

    def publish_another_table() -> None:
        build_table(source.app, "river", {"_id": {}})
        publish_app(source.app)

    await sync_to_async(publish_another_table)()
    async with asyncio.timeout(SOON_SECONDS):
        assert await stream == closing.source_unavailable()
    assert "did not come back" in caplog.text
    assert list(replica.published) == ["city"]


async def test_what_a_replica_has_is_noted(source: ChangeSource, monkeypatch: pytest.MonkeyPatch) -> None:
    """Now and then what zero-cache acknowledged is stored: by that it is known later what it may have lost."""
    monkeypatch.setattr(acknowledgements, "NOTE_SECONDS", 0.05)
    replica = Replica()
    await source.take_snapshot(replica)
    async with source.streaming(replica), asyncio.timeout(SOON_SECONDS):
        await source.database.city.insert_one({"_id": 2})
        await replica.until(lambda: replica.rows_taken == 2)
        assert replica.watermark is not None
        while (await RegisteredReplica.objects.aget()).acknowledged != replica.watermark.watermark:
            await asyncio.sleep(0.02)


async def test_rules_are_sent_once_more_when_queries_may_name_what_has_come(
    source: ChangeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """zero-cache asks for all named queries then. The answers depend on what is noted of the replica, so that is noted first,
    even if it is not due."""
    monkeypatch.setattr(acknowledgements, "NOTE_SECONDS", 1e6)
    monkeypatch.setattr(stream_module, "KEPT_SECONDS", 0.2)
    replica = Replica()
    await source.take_snapshot(replica)
    source.app.queries = {"villages": {"table": "village"}}
    await source.app.asave()
    await sync_to_async(build_table)(source.app, "village", {"_id": {}}, permissions='{"select": [{}]}')
    async with source.streaming(replica), asyncio.timeout(SOON_SECONDS):
        await sync_to_async(publish_app)(source.app)
        await replica.until(lambda: "village" in replica.published)
        assert not sent_once_more(replica)
        assert replica.watermark is not None
        has_village = replica.watermark.watermark
        await replica.until(lambda: sent_once_more(replica))
        assert (await RegisteredReplica.objects.aget()).acknowledged >= has_village


async def test_rules_are_sent_once_more_when_the_last_query_is_gone(
    source: ChangeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """zero-cache still has its answer to that query."""
    monkeypatch.setattr(stream_module, "KEPT_SECONDS", 0.2)
    source.app.queries = {"cities": {"table": "city"}}
    await source.app.asave()
    await source.app.tables.aupdate(permissions='{"select": [{}]}')
    await sync_to_async(publish_app)(source.app)
    replica = Replica()
    await source.take_snapshot(replica)
    monkeypatch.setattr(stream_module, "LATELY_SECONDS", -1)  # otherwise they are sent once more for that publish
    source.app.queries = {}
    await source.app.asave()
    async with source.streaming(replica), asyncio.timeout(SOON_SECONDS):
        await sync_to_async(publish_app)(source.app)
        await replica.until(lambda: sent_once_more(replica))


@pytest.mark.parametrize("has_queries", [True, False])
async def test_a_snapshot_marks_a_change_of_access_when_earlier_answers_are_forgotten(
    source: ChangeSource, monkeypatch: pytest.MonkeyPatch, *, has_queries: bool
) -> None:
    """Another replica of the client meets that marker too, and loses a table. An answer of before that names the table would
    stop its client group."""
    waits = 0.5 if has_queries else 1e6
    monkeypatch.setattr(session_module, "KEPT_SECONDS", waits)
    await sync_to_async(build_table)(source.app, "village", {"_id": {}}, permissions='{"select": [{}]}')
    source.app.queries = {"villages": {"table": "village"}} if has_queries else {}
    await source.app.asave()
    version = await sync_to_async(publish_app)(source.app)
    async with asyncio.timeout(SOON_SECONDS):
        while source.service.published(source.app.app_id).number < version.number:  # type: ignore[union-attr]
            await asyncio.sleep(0.02)
    await source.take_snapshot(Replica())
    marked_at: list[float] = []

    async def write(*arguments: Any) -> None:
        marked_at.append(time.monotonic())
        await write_access_marker(*arguments)

    monkeypatch.setattr(client_access, "write_access_marker", write)
    await sync_to_async(set_grant)(source.client, all_tables=False, tables=["city"])
    began = time.monotonic()
    replica = Replica()
    async with asyncio.timeout(SOON_SECONDS):
        await source.take_snapshot(replica, shard_num=1)
    assert list(replica.published) == ["city"]
    [at] = marked_at
    assert not has_queries or at - began >= waits


def sent_once_more(replica: Replica) -> bool:
    """Whether the rules that the replica has are in the text with which they are sent once more."""
    [row] = replica.tables["permissions"].values()
    return str(row["hash"]).endswith(" again")
