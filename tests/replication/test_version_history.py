"""version_history.py: which version is in force where, for every reader, whatever happens to a
publish meanwhile."""

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
from changesource.models import AccessVersion, App, Client, Version, queries
from changesource.models.queries.published import StoredVersion
from changesource.mongo.markers import AccessMarker, PublishMarker
from changesource.protocol.watermarks import Position
from changesource.publishing.versions import begin_publish
from changesource.replication import lookups, version_history
from changesource.replication.version_history import (
    FIRST_ORDINAL_AFTER_MARKER,
    VersionHistory,
    number_in_force,
    position_of_cutover,
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
def test_a_version_is_in_force_from_its_publish_on(position: Position, number: int) -> None:
    """A watermark at the marker's cluster time tells."""
    stored = [StoredVersion(1, "a", 0), StoredVersion(2, "b", MARKER)]
    assert number_in_force(stored, position) == number


def test_a_version_whose_marker_came_after_a_later_ones_was_never_in_force() -> None:
    stored = [StoredVersion(1, "a", 0), StoredVersion(2, "b", MARKER + 5), StoredVersion(3, "c", MARKER)]
    assert number_in_force(stored, Position(MARKER + 9)) == 3


def test_an_app_without_versions_has_none_in_force() -> None:
    with pytest.raises(UnknownVersion):
        number_in_force([], Position(MARKER))


@given(st.lists(st.integers(1, 50), max_size=6), st.integers(0, 60), st.integers(0, 0xFFFF))
def test_readers_and_watermarks_agree(markers: list[int], cluster_time: int, ordinal: int) -> None:
    """A reader that meets the markers in order, and accepts only higher numbers, has the version
    that the watermark tells."""
    stored = [StoredVersion(1, "base", 0)]
    stored += [StoredVersion(number, str(number), marker) for number, marker in enumerate(markers, start=2)]
    position = Position(cluster_time, ordinal)
    current = 1
    for version in sorted(stored[1:], key=lambda version: version.cluster_time or 0):
        if position_of_cutover(version.cluster_time or 0) <= position:
            current = max(current, version.number)
    assert number_in_force(stored, position) == current


async def met(history: VersionHistory, marker: PublishMarker, cluster_time: int = MARKER) -> int | None:
    """Returns the version with which a reader continues that meets the marker now."""
    found = await history.published_by(marker, cluster_time, time.monotonic())
    return None if found is None else found.number


def edit_and_begin() -> Version:
    app = build_app()
    publish(app)
    build_table(app, "river", {"_id": {}})
    return begin_publish(app)


@pytest.mark.django_db(transaction=True)
async def test_undecided_publish_is_waited_for() -> None:
    """A reader that meets the marker before the publish has been confirmed waits."""
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
async def test_an_unconfirmed_publish_is_ended_by_a_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first reader that cannot wait any longer ends it for all."""
    monkeypatch.setattr(version_history, "UNDECIDED_SECONDS", 0.2)
    version = await sync_to_async(edit_and_begin)()
    assert await met(VersionHistory("shop"), PublishMarker(2, version.nonce)) is None
    assert not await sync_to_async(Version.objects.confirm)(version.nonce, MARKER)
    assert (await VersionHistory("shop").at(Position(MARKER + 1))).number == 1


@pytest.mark.django_db(transaction=True)
async def test_a_marker_with_an_unknown_nonce_belongs_to_no_version() -> None:
    """It may be of another installation on the same database."""
    await sync_to_async(lambda: publish(build_app()))()
    assert await met(VersionHistory("shop"), PublishMarker(1, "a" * 32)) is None


@pytest.mark.django_db(transaction=True)
async def test_a_copied_marker_belongs_to_no_version() -> None:
    """Whether it is copied before the publish is confirmed or later: the version is in force from
    its own marker on."""
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
async def test_an_unknown_marker_is_not_waited_for() -> None:
    """Even while a publish is under way."""
    await sync_to_async(edit_and_begin)()
    async with asyncio.timeout(5):
        assert await met(VersionHistory("shop"), PublishMarker(2, "a" * 32)) is None


@pytest.mark.django_db(transaction=True)
async def test_many_unknown_markers_cost_few_queries_and_one_log_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """However many readers meet them."""
    caplog.set_level(logging.INFO)
    asked: list[float] = []
    stored_versions = queries.published.stored_versions

    async def count(app_id: str) -> list[StoredVersion]:
        asked.append(time.monotonic())
        return await stored_versions(app_id)

    monkeypatch.setattr(queries.published, "stored_versions", count)
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
    assert len([record for record in caplog.records if "belongs to no version" in record.message]) == 1


@pytest.mark.django_db(transaction=True)
async def test_an_answer_serves_only_markers_received_before_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A publish that was stored since then is found."""
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
async def test_an_access_marker_counts_for_its_client_at_its_first_place() -> None:

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
    await queries.access.confirm_access(waiting.nonce, MARKER + 1)
    assert await counts(client_id, waiting.nonce, MARKER + 1)
    assert not await counts(client_id, waiting.nonce, MARKER + 2)
    assert await counts(client_id, known.nonce, MARKER)  # it is from before the last query


@pytest.mark.django_db(transaction=True)
async def test_an_access_marker_counts_if_the_database_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """The database is then not queried for a while."""
    asked = 0

    async def fail(app_id: str, since: int) -> Any:
        nonlocal asked
        asked += 1
        raise OperationalError

    monkeypatch.setattr(queries.access, "access_cutovers", fail)
    history = VersionHistory("shop")
    for _ in range(10):
        assert await history.begins_access(AccessMarker(1, "a" * 32), MARKER, time.monotonic())
    assert asked == 1


@pytest.mark.django_db
def test_an_abandoned_publish_does_not_block_the_next_one() -> None:
    version = edit_and_begin()
    Version.objects.filter(pk=version.pk).update(published_at=timezone.now() - timedelta(minutes=5))
    assert begin_publish(version.app).nonce != version.nonce


@pytest.mark.django_db(transaction=True)
async def test_few_versions_are_kept_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process may live through thousands of publishes. A version that is needed again is compiled again."""
    monkeypatch.setattr(version_history, "MAX_COMPILED", 2)

    def publish_four() -> None:
        app = build_app()
        publish(app)
        for number in range(1, 4):
            build_table(app, f"river{number}", {"_id": {}})
            publish(app)

    await sync_to_async(publish_four)()
    history = VersionHistory("shop")
    for _ in range(2):
        assert [version.number for version in await history.after(0)] == [1, 2, 3, 4]
    assert len(history._compiled) == 2
    assert await history.after(3) == await history.after(3)
