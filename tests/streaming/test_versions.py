"""versions.py: which version is in force where, whoever asks and whatever becomes of a publish meanwhile."""

import asyncio
from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from changesource.errors import UnknownVersion
from changesource.models import Version
from changesource.models.store import StoredVersion
from changesource.mongo.markers import PublishMarker
from changesource.protocol.watermarks import Position
from changesource.publishing.versions import begin_publish
from changesource.streaming import versions
from changesource.streaming.versions import (
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
    met = asyncio.create_task(history.published_by(PublishMarker(2, version.nonce)))
    waiting = asyncio.create_task(history.at(Position(MARKER + 1)))
    done, _ = await asyncio.wait([met, waiting], timeout=0.3)
    assert not done
    assert await sync_to_async(Version.objects.confirm)(version.nonce, MARKER)
    found = await met
    assert found is not None
    assert found.number == 2
    assert (await waiting).number == 2


@pytest.mark.django_db(transaction=True)
async def test_publish_that_nobody_confirms(monkeypatch: pytest.MonkeyPatch) -> None:
    """A publisher that vanished holds nobody up for long: the first reader who cannot wait ends the publish for all."""
    monkeypatch.setattr(versions, "UNDECIDED_SECONDS", 0.2)
    version = await sync_to_async(edit_and_begin)()
    assert await VersionHistory("shop").published_by(PublishMarker(2, version.nonce)) is None
    assert not await sync_to_async(Version.objects.confirm)(version.nonce, MARKER)
    assert (await VersionHistory("shop").at(Position(MARKER + 1))).number == 1


@pytest.mark.django_db(transaction=True)
async def test_marker_of_somebody_else() -> None:
    """A marker whose nonce no version has, such as one of another installation on the same database, is of no version."""
    await sync_to_async(lambda: publish(build_app()))()
    assert await VersionHistory("shop").published_by(PublishMarker(1, "unknown")) is None


@pytest.mark.django_db
def test_forgotten_publish_makes_room() -> None:
    """The row of a publisher that vanished does not keep the next one from publishing."""
    version = edit_and_begin()
    Version.objects.filter(pk=version.pk).update(published_at=timezone.now() - timedelta(minutes=5))
    assert begin_publish(version.app).nonce != version.nonce
