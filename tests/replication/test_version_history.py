"""version_history.py: which version is in force where, whoever asks and whatever becomes of a publish meanwhile."""

import asyncio
import itertools
import logging
import time
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from changesource.errors import UnknownVersion
from changesource.models import AccessVersion, App, Client, Version, client_store, store
from changesource.models.store import StoredVersion
from changesource.mongo.markers import AccessMarker, PublishMarker
from changesource.protocol.watermarks import Position
from changesource.publishing.versions import begin_publish
from changesource.replication import lookups, version_history
from changesource.replication.version_history import (
    FIRST_ORDINAL_AFTER_MARKER,
    VersionHistory,
    number_in_force,
    position_of_turn,
)
from tests.models.builders import build_app, build_table, publish

MARKER = 1_700_000_000 << 32


@pytest.fixture(autouse=True)
def default_source(settings) -> None:
    settings.CHANGESOURCE_SOURCES = {"default": "mongodb://localhost/shop"}


@pytest.mark.parametrize(
    ("position", "number"),
    [
        (Position(1), 1),
        (Position(MARKER - 1, 0xFFFF), 1),
        (Position(MARKER), 1),
        (Position(MARKER, FIRST_ORDINAL_AFTER_MARKER - 1), 1),
        (Position(MARKER, FIRST_ORDINAL_AFTER_MARKER), 2),
        (Position(MARKER, 0xFFFF), 2),
        (Position(MARKER + 1), 2),
    ],
)
def test_one_publish(position: Position, number: int) -> None:
    """A version is in force from the transaction of its publish on, which a watermark at the marker's cluster time tells."""
    stored = [StoredVersion(1, "a", 0), StoredVersion(2, "b", MARKER)]
    assert number_in_force(stored, position) == number


def test_markers_out_of_order() -> None:
    """Where a later version's marker came first, the earlier version was never in force."""
    stored = [StoredVersion(1, "a", 0), StoredVersion(2, "b", MARKER + 5), StoredVersion(3, "c", MARKER)]
    assert number_in_force(stored, Position(MARKER + 9)) == 3


def test_no_version() -> None:
    """An app without versions has none in force."""
    with pytest.raises(UnknownVersion):
        number_in_force([], Position(MARKER))


@given(st.lists(st.integers(1, 50), max_size=6), st.integers(0, 60), st.integers(0, 0xFFFF))
def test_readers_and_watermarks_agree(markers: list[int], cluster_time: int, ordinal: int) -> None:
    """Who meets the markers one after the other, and takes only higher numbers, is where the watermark says."""
    stored = [StoredVersion(1, "base", 0)]
    stored += [StoredVersion(number, str(number), marker) for number, marker in enumerate(markers, start=2)]
    position = Position(cluster_time, ordinal)
    current = 1
    for version in sorted(stored[1:], key=lambda version: version.cluster_time or 0):
        if position_of_turn(version.cluster_time or 0) <= position:
            current = max(current, version.number)
    assert number_in_force(stored, position) == current


async def met(history: VersionHistory, marker: PublishMarker, cluster_time: int = MARKER) -> int | None:
    """The version that a reader goes on with who meets the marker now."""
    found = await history.published_by(marker, cluster_time, time.monotonic())
    return None if found is None else found.number


def edit_and_begin() -> Version:
    app = build_app()
    publish(app)
    build_table(app, "river", {"_id": {}})
    return begin_publish(app)


@pytest.mark.django_db(transaction=True)
async def test_undecided_publish_is_waited_for() -> None:
    """A reader that meets the marker before the publisher has said that it took place waits for that."""
    version = await sync_to_async(edit_and_begin)()
    history = VersionHistory("shop")
    meeting = asyncio.create_task(met(history, PublishMarker(2, version.nonce)))
    waiting = asyncio.create_task(history.at(Position(MARKER + 1)))
    done, _ = await asyncio.wait([meeting, waiting], timeout=0.3)
    assert not done
    assert await sync_to_async(Version.objects.confirm)(version.nonce, MARKER)
    assert await meeting == 2
    assert (await waiting).number == 2


@pytest.mark.django_db(transaction=True)
async def test_publish_that_nobody_confirms(monkeypatch: pytest.MonkeyPatch) -> None:
    """A publisher that vanished holds nobody up for long: the first reader who cannot wait ends the publish for all."""
    monkeypatch.setattr(version_history, "UNDECIDED_SECONDS", 0.2)
    version = await sync_to_async(edit_and_begin)()
    assert await met(VersionHistory("shop"), PublishMarker(2, version.nonce)) is None
    assert not await sync_to_async(Version.objects.confirm)(version.nonce, MARKER)
    assert (await VersionHistory("shop").at(Position(MARKER + 1))).number == 1


@pytest.mark.django_db(transaction=True)
async def test_marker_of_somebody_else() -> None:
    """A marker whose nonce no version has, such as one of another installation on the same database, is of no version."""
    await sync_to_async(lambda: publish(build_app()))()
    assert await met(VersionHistory("shop"), PublishMarker(1, "a" * 32)) is None


@pytest.mark.django_db(transaction=True)
async def test_copied_marker() -> None:
    """A marker that somebody has seen and writes again, before it is known whether the publish took place or later, is of
    no version: that is in force from its own marker on."""
    version = await sync_to_async(edit_and_begin)()
    marker = PublishMarker(2, version.nonce)
    copied = asyncio.create_task(met(VersionHistory("shop"), marker, MARKER + 1))
    done, _ = await asyncio.wait([copied], timeout=0.3)
    assert not done
    assert await sync_to_async(Version.objects.confirm)(version.nonce, MARKER)
    assert await copied is None
    assert await met(VersionHistory("shop"), marker) == 2
    assert await met(VersionHistory("shop"), marker, MARKER + 1) is None


@pytest.mark.django_db(transaction=True)
async def test_stranger_waits_for_no_publish() -> None:
    """A marker that nobody here has written is of no version at once, also while a publish is under way."""
    await sync_to_async(edit_and_begin)()
    async with asyncio.timeout(5):
        assert await met(VersionHistory("shop"), PublishMarker(2, "a" * 32)) is None


@pytest.mark.django_db(transaction=True)
async def test_many_strangers(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """However many markers that are none are met, by however many readers: the database is asked at most so often, and the
    log says it once."""
    caplog.set_level(logging.INFO)
    asked: list[float] = []
    stored_versions = store.stored_versions

    async def count(app_id: str) -> list[StoredVersion]:
        asked.append(time.monotonic())
        return await stored_versions(app_id)

    monkeypatch.setattr(store, "stored_versions", count)
    await sync_to_async(lambda: publish(build_app()))()
    history = VersionHistory("shop")

    async def meet(number: int) -> None:
        for batch in range(3):
            received_at = time.monotonic()
            for event in range(300):
                marker = PublishMarker(2, f"{number << 20 | batch << 10 | event:032x}")
                assert await history.published_by(marker, MARKER, received_at) is None

    await asyncio.gather(*(meet(number) for number in range(4)))
    assert len(asked) <= 12
    assert all(after - before >= 0.99 * lookups.LOOKUP_SECONDS for before, after in itertools.pairwise(asked))
    assert len([record for record in caplog.records if "is of no version" in record.message]) == 1


@pytest.mark.django_db(transaction=True)
async def test_answer_from_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer serves only markers that were received before it was asked for: a publish that was stored since is found."""
    history = VersionHistory("shop")
    await sync_to_async(lambda: publish(build_app()))()
    assert await met(history, PublishMarker(2, "a" * 32)) is None

    def publish_another() -> Version:
        build_table(App.objects.get(), "river", {"_id": {}})
        return begin_publish(App.objects.get())

    version = await sync_to_async(publish_another)()
    await sync_to_async(Version.objects.confirm)(version.nonce, MARKER)
    assert await met(history, PublishMarker(2, version.nonce)) == 2


@pytest.mark.django_db(transaction=True)
async def test_change_of_access() -> None:
    """A marker counts for its own client, and where it was first met, wherever it stands otherwise."""

    def two_changes() -> tuple[AccessVersion, AccessVersion]:
        app = build_app()
        publish(app)
        client = Client.objects.create_for_apps("cache", [app])
        new = client.access_versions.create
        return new(app=app, number=1, access={}, cluster_time=MARKER), new(app=app, number=2, access={})

    known, waiting = await sync_to_async(two_changes)()
    history = VersionHistory("shop")

    async def counts(client_id: int, nonce: str, cluster_time: int) -> bool:
        return await history.begins_access(AccessMarker(client_id, nonce), cluster_time, time.monotonic())

    client_id = known.client_id
    assert await counts(client_id, known.nonce, MARKER)
    assert not await counts(client_id, known.nonce, MARKER + 1)
    assert not await counts(client_id + 1, known.nonce, MARKER)
    assert await counts(client_id, waiting.nonce, MARKER + 1)
    assert not await counts(client_id, "a" * 32, MARKER)
    await client_store.confirm_access(waiting.nonce, MARKER + 1)
    assert await counts(client_id, waiting.nonce, MARKER + 1)
    assert not await counts(client_id, waiting.nonce, MARKER + 2)
    assert await counts(client_id, known.nonce, MARKER)  # of before what was asked for last


@pytest.mark.django_db(transaction=True)
async def test_change_of_access_without_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the Django database does not answer a marker counts, and the database is left alone for a while."""
    asked = 0

    async def fail(app_id: str, since: int) -> Any:
        nonlocal asked
        asked += 1
        raise OperationalError

    monkeypatch.setattr(client_store, "access_turns", fail)
    history = VersionHistory("shop")
    for _ in range(10):
        assert await history.begins_access(AccessMarker(1, "a" * 32), MARKER, time.monotonic())
    assert asked == 1


@pytest.mark.django_db
def test_forgotten_publish_makes_room() -> None:
    """The row of a publisher that vanished does not keep the next one from publishing."""
    version = edit_and_begin()
    Version.objects.filter(pk=version.pk).update(published_at=timezone.now() - timedelta(minutes=5))
    assert begin_publish(version.app).nonce != version.nonce
