"""snapshot_progress.py: how far a snapshot is, for other processes and for people."""

import asyncio
import logging
from collections.abc import Callable

import pytest
from asgiref.sync import sync_to_async

from changesource.models import App, Client, RunningSnapshot
from changesource.sessions import snapshot_progress
from changesource.sessions.snapshot_progress import DocumentCounts, SnapshotProgress, shown
from tests.models.builders import build_app

pytestmark = pytest.mark.django_db(transaction=True)

SOON_SECONDS = 10.0


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch, settings) -> None:
    monkeypatch.setattr(snapshot_progress, "NOTE_SECONDS", 0.02)
    settings.CHANGESOURCE_SOURCES = {"default": "mongodb://localhost/shop"}


@pytest.fixture
def progress() -> SnapshotProgress:
    """A snapshot that waits for a slot."""
    app: App = build_app()
    return SnapshotProgress("shop", 3, Client.objects.create_for_apps("cache", [app]).pk)


async def until(holds: Callable[[RunningSnapshot], bool]) -> RunningSnapshot:
    """The one that is shown, once something holds of it."""
    async with asyncio.timeout(SOON_SECONDS):
        while True:
            found = await RunningSnapshot.objects.afirst()
            if found is not None and holds(found):
                return found
            await asyncio.sleep(0.01)


async def test_a_snapshot_is_shown_until_it_ends(progress: SnapshotProgress) -> None:
    """It is shown while it waits and while it runs, and no longer."""
    async with shown(progress):
        assert (await until(lambda each: each.state == "waiting")).shard_num == 3
        progress.begin()
        progress.state.rows, progress.state.documents, progress.state.total_documents = 40, 20, 100
        running = await until(lambda each: each.rows == 40 and each.noted_at > each.began_at)
        assert running.state == "reading"
        assert running.seconds_left == pytest.approx(4 * 40 / running.rows_per_second, rel=0.01)
        progress.state.documents = 100
        await until(lambda each: each.state == "closing")
    assert await RunningSnapshot.objects.acount() == 0


async def test_a_failed_snapshot_is_no_longer_shown(progress: SnapshotProgress) -> None:
    """Nor is one that failed."""

    async def fail() -> None:
        async with shown(progress):
            await until(lambda each: True)
            raise ConnectionError

    with pytest.raises(ConnectionError):
        await fail()
    assert await RunningSnapshot.objects.acount() == 0


async def test_the_log_tells_how_far_a_snapshot_is(
    progress: SnapshotProgress, caplog: pytest.LogCaptureFixture
) -> None:
    """The log tells of the wait, then of rows, total, rate and time left."""
    caplog.set_level(logging.INFO, "changesource.sessions.snapshot_progress")
    async with shown(progress):
        await until(lambda each: "waits for a slot" in caplog.text)
        progress.begin()
        progress.state.rows, progress.state.documents, progress.state.total_documents = 40, 20, 100
        await until(lambda each: "left" in caplog.text)
    assert "snapshot of shop/3: 40 rows, 20 of about 100 documents, " in caplog.text


async def test_nothing_is_kept_of_a_snapshot_whose_app_is_deleted(progress: SnapshotProgress) -> None:
    """Nothing is kept of a snapshot whose app was deleted under way."""
    async with shown(progress):
        await until(lambda each: True)
        await sync_to_async(App.objects.all().delete)()
        await asyncio.sleep(0.1)
        assert await RunningSnapshot.objects.acount() == 0


def test_documents_read_and_to_be_read_add_up(progress: SnapshotProgress) -> None:
    """What is read and to be read of all collections: of one that is empty, one that grows, one that shrinks; the end is not
    reached before all have been read."""
    counts, state = DocumentCounts(progress.state), progress.state
    for collection, expected in {"empty": 0, "grows": 10, "shrinks": 50}.items():
        counts.expect(collection, expected)
    assert (state.documents, state.total_documents) == (0, 60)
    counts.end("empty")
    counts.add("grows", 10)
    assert (state.documents, state.total_documents) == (10, 61)
    counts.add("grows", 90)
    counts.end("grows")
    assert (state.documents, state.total_documents) == (100, 150)
    counts.expect("shrinks", 45)
    counts.add("shrinks", 30)
    assert (state.documents, state.total_documents) == (130, 150)
    counts.end("shrinks")
    assert (state.documents, state.total_documents) == (130, 130)
