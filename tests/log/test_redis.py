"""redis.py: what happens to the log when Redis forgets, hangs or goes away."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from changesource.errors import LeaseLost, LogMismatch, LogUnavailable
from changesource.log import redis as redis_module
from changesource.log.entries import ChangeLog, Entry, EntryId, Extent, Leadership
from changesource.protocol.watermarks import Position
from tests.log.builders import NOW_SECONDS, ends, entry, fill, place, places, start
from tests.log.opening import RedisLogs
from zerosources.embedded.ports import free_port
from zerosources.embedded.servers import ValkeyServer

SOON_SECONDS = 5.0


@pytest.fixture(scope="module")
def own_valkey(run_dir: Path) -> Iterator[ValkeyServer]:
    """A Valkey that tests may flush, freeze and restart."""
    with ValkeyServer(run_dir / "valkey-log") as server:
        yield server


@pytest.fixture
async def own_logs(own_valkey: ValkeyServer, settings: Any) -> AsyncIterator[RedisLogs]:
    own_valkey.start()
    async with RedisLogs(own_valkey.url, settings) as logs:
        yield logs


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis has a fifth of a second for an answer."""
    monkeypatch.setattr(redis_module, "TIMEOUT_SECONDS", 0.2)


# A Redis that forgets


@pytest.mark.parametrize("lost", [["log", "tail"], ["log"], ["tail"]], ids="+".join)
async def test_a_log_that_lost_a_key_is_empty(redis_logs: RedisLogs, lost: list[str]) -> None:
    """For readers and for writers."""
    log = redis_logs.open()
    await fill(log, 1, 2)
    await redis_logs.lose(*lost)
    assert await log.extent() == Extent()
    with pytest.raises(LogMismatch):
        await log.append(entry(3), place(2))


@pytest.mark.parametrize("lost", [["log", "tail"], ["log"], ["tail"]], ids="+".join)
async def test_after_a_loss_the_log_starts_over(redis_logs: RedisLogs, lost: list[str]) -> None:
    """It holds nothing of what was there before."""
    log = redis_logs.open()
    await fill(log, 1, 2, 3)
    await redis_logs.lose(*lost)
    await log.append(start(4), None)
    await log.append(entry(5), place(4))
    assert await places(log) == [place(4), place(5)]
    assert await ends(log) == Extent(place(4), place(5), begins_with_start=True, whole=place(5))


async def test_a_log_whose_entries_were_all_deleted_is_empty_for_writers_too(redis_logs: RedisLogs) -> None:
    """It can start over."""
    log = redis_logs.open()
    await fill(log, 1, 2)
    await redis_logs.shorten(0)
    assert await log.extent() == Extent()
    await log.append(start(3), None)
    assert await places(log) == [place(3)]


async def test_flushall_leaves_an_empty_log_without_a_leader(own_logs: RedisLogs) -> None:
    log = own_logs.open()
    await fill(log, 1, 2)
    await log.acquire_lease("one", 60)
    await own_logs.flush()
    assert (await log.extent(), await log.leader()) == (Extent(), None)


async def test_a_log_continues_with_a_redis_that_was_restarted_empty(
    own_valkey: ValkeyServer, own_logs: RedisLogs
) -> None:
    log = own_logs.open()
    await fill(log, 1, 2)
    own_valkey.restart()
    with pytest.raises((LogMismatch, LogUnavailable)):
        await log.append(entry(3), place(2))
    await fill(log, 4, 5)
    assert await places(log) == [place(4), place(5)]


async def test_a_listener_hears_the_doorbell_of_a_restarted_redis(
    own_valkey: ValkeyServer, own_logs: RedisLogs
) -> None:
    reader, writer = own_logs.open(), own_logs.open()
    await listening(reader)
    own_valkey.restart()
    await writer.append(start(1), None)
    tail = place(1)
    deadline = time.monotonic() + 4 * SOON_SECONDS
    generation = reader.generation
    while reader.generation == generation:
        assert time.monotonic() < deadline, "nothing is heard any longer"
        step = entry(tail.position.cluster_time + 1 - place(0).position.cluster_time)
        await writer.append(step, tail)
        tail = step.id
        await reader.wait(generation, 0.2)


async def listening(log: ChangeLog) -> None:
    """Returns when the log hears its doorbell: a wait then lasts as long as it says."""
    while True:
        began = time.monotonic()
        await log.wait(log.generation, 0.1)
        if time.monotonic() - began >= 0.1:
            return


# Limits


async def test_entries_that_are_too_old_are_trimmed(redis_logs: RedisLogs) -> None:
    """Their age is measured by the source's clock."""
    log = redis_logs.open(max_age_seconds=3600)
    ages = [7200 - age for age in range(200)] + [10, 5]
    tables = {"city": b"x" * 5000}  # Redis drops whole nodes of 4096 bytes
    await log.append(Entry(id=place_aged(9000), commit_time_ms=0, is_start=True), None)
    tail = place_aged(9000)
    for age in ages:
        await log.append(Entry(id=place_aged(age), commit_time_ms=0, tables=tables), tail)
        tail = place_aged(age)
    await log.trim()
    assert await places(log) == [place_aged(10), place_aged(5)]


def place_aged(seconds: int) -> EntryId:
    return EntryId(Position((NOW_SECONDS - seconds) << 32))


async def test_a_quiet_log_keeps_its_tail(redis_logs: RedisLogs) -> None:
    """However old the tail is: its writer continues after it."""
    log = redis_logs.open(max_age_seconds=3600)
    await log.append(Entry(id=place_aged(9000), commit_time_ms=0, is_start=True), None)
    await log.append(Entry(id=place_aged(8000), commit_time_ms=0, tables={"city": b"x" * 5000}), place_aged(9000))
    await log.trim()
    assert (await log.extent()).tail == place_aged(8000)
    await log.append(entry(1), (await log.extent()).tail)


async def test_one_trim_brings_a_log_that_grew_fast_near_its_size(redis_logs: RedisLogs) -> None:
    log = redis_logs.open(max_bytes=100_000)
    await fill(log, *range(1, 201), size=5_000)
    await log.trim()
    assert 10 <= len(await places(log)) <= 20


async def test_large_entries_after_many_small_ones_are_measured(redis_logs: RedisLogs) -> None:
    """One trim brings the log to its size."""
    log = redis_logs.open(max_bytes=500_000)
    await fill(log, *range(1, 201), size=2_000)
    for step in range(201, 301):
        await log.append(entry(step, tables={"city": b"x" * 20_000}), place(step - 1))
    await log.trim()
    left = await log.read(None, 1000)
    assert 250_000 < sum(found.size for found in left) <= 500_000


async def test_small_entries_after_large_ones_are_measured(redis_logs: RedisLogs) -> None:
    """A log within its size is not trimmed."""
    log = redis_logs.open(max_bytes=1_500_000)
    await fill(log, *range(1, 61), size=10_000)
    for step in range(61, 361):
        await log.append(entry(step, tables={"city": b"x" * 2_000}), place(step - 1))
    await log.trim()
    assert (await places(log))[0] == place(1)


async def test_the_log_is_measured_seldom(redis_logs: RedisLogs) -> None:
    """Redis answers no other request meanwhile. A full log is measured after a tenth of its size
    was appended."""
    log = redis_logs.open(max_bytes=1_000_000)
    await fill(log, *range(1, 301), size=5_000)
    await log.trim()
    before = await redis_logs.calls("memory|usage")
    for step in range(301, 361):
        await log.append(entry(step, tables={"city": b"x" * 5_000}), place(step - 1))
        await log.trim()
    assert 3 <= await redis_logs.calls("memory|usage") - before <= 20
    assert 800_000 < await redis_logs.log_bytes() <= 1_000_000


@given(
    sizes=st.lists(st.tuples(st.integers(1, 40), st.integers(0, 3_000)), min_size=1, max_size=30),
    max_bytes=st.sampled_from([20_000, 100_000]),
)
@hypothesis.settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_after_each_trim_the_log_is_within_its_size(
    redis_logs: RedisLogs, sizes: list[tuple[int, int]], max_bytes: int
) -> None:
    """However many tables and whatever sizes its entries have."""
    log = redis_logs.open_another(max_bytes=max_bytes)
    await fill(log, 1)
    for step, (tables, size) in enumerate(sizes, start=2):
        await log.append(entry(step, tables={f"t{n}": b"x" * size for n in range(tables)}), place(step - 1))
        await log.trim()
        assert await redis_logs.log_bytes() <= max_bytes or len(await places(log)) == 1


async def test_a_writer_that_continues_after_others_measures_the_log(redis_logs: RedisLogs) -> None:
    log, other = redis_logs.open(max_bytes=100_000), redis_logs.open()
    await fill(log, 1, 2)
    await log.trim()
    for step in range(3, 103):
        await other.append(entry(step, tables={"city": b"x" * 5_000}), place(step - 1))
    tail = (await log.extent()).tail
    await log.append(entry(103), tail)
    await log.trim()
    assert await redis_logs.log_bytes() <= 100_000


async def test_a_log_without_a_writer_expires(redis_logs: RedisLogs) -> None:
    """With both of its keys."""
    log = redis_logs.open(max_age_seconds=3600)
    await fill(log, 1, 2)
    await log.trim()
    assert all(3500 < seconds <= 3600 for seconds in await redis_logs.seconds_to_live("log", "tail"))


# Separate logs


async def test_logs_with_other_names_are_not_touched(
    valkey_server: ValkeyServer, redis_logs: RedisLogs, settings: Any
) -> None:
    async with RedisLogs(valkey_server.url, settings) as others:
        one, other = redis_logs.open(), others.open()
        await fill(one, 1, 2)
        assert await other.extent() == Extent()
        await other.acquire_lease("other", 60)
        assert await one.leader() is None


async def test_an_entry_of_tens_of_megabytes_is_written_and_read(redis_logs: RedisLogs) -> None:
    log = redis_logs.open()
    await log.append(start(1), None)
    frames = os.urandom(40 * 2**20)
    await log.append(entry(2, tables={"city": frames}), place(1))
    (found,) = await log.read(place(1), 1)
    assert found.tables["city"] == frames


async def test_an_entry_can_have_frames_of_a_thousand_tables(redis_logs: RedisLogs) -> None:
    log = redis_logs.open()
    await log.append(start(1), None)
    tables = {f"table_{number}": b"x" for number in range(1000)}
    await log.append(entry(2, tables=tables), place(1))
    assert (await log.read(place(1), 1))[0].tables == tables


# A Redis that does not answer


async def test_every_method_raises_if_redis_is_unreachable(settings: Any) -> None:
    async with RedisLogs(f"redis://127.0.0.1:{free_port()}/0", settings) as logs:
        log = logs.open()
        for action in (
            log.append(start(1), None),
            log.extent(),
            log.read(None, 1),
            log.trim(),
            log.acquire_lease("one", 1),
            log.release_lease("one"),
            log.leader(),
        ):
            with pytest.raises(LogUnavailable):
                await action


async def test_the_error_does_not_show_the_url(settings: Any) -> None:
    """A password may be in it."""
    port = free_port()
    async with RedisLogs(f"redis://user:secret@127.0.0.1:{port}/0", settings) as logs:
        with pytest.raises(LogUnavailable) as caught:
            await logs.open().extent()
        assert "secret" not in str(caught.value)
        assert str(port) not in str(caught.value)


@pytest.mark.usefixtures("impatient")
async def test_a_redis_that_hangs_is_unavailable_after_a_time(own_valkey: ValkeyServer, own_logs: RedisLogs) -> None:
    """It answers again when it continues."""
    log = own_logs.open()
    await fill(log, 1, 2)
    os.kill(own_valkey.pid, signal.SIGSTOP)
    try:
        with pytest.raises(LogUnavailable):
            await log.extent()
    finally:
        os.kill(own_valkey.pid, signal.SIGCONT)
    assert (await log.extent()).tail == place(2)


async def test_the_answer_to_a_cancelled_request_is_dropped(own_valkey: ValkeyServer, own_logs: RedisLogs) -> None:
    """It is not taken for the answer to the next request."""
    log = own_logs.open()
    await fill(log, 1, 2)
    await log.acquire_lease("one", 60)
    os.kill(own_valkey.pid, signal.SIGSTOP)
    try:
        asking = asyncio.create_task(log.read(None, 10))
        _, pending = await asyncio.wait([asking], timeout=0.1)
        assert pending
        asking.cancel()
        await asyncio.wait([asking], timeout=SOON_SECONDS)
    finally:
        os.kill(own_valkey.pid, signal.SIGCONT)
    assert asking.cancelled()
    assert [await log.leader() for _ in range(3)] == ["one"] * 3


async def test_an_append_whose_answer_was_lost_cannot_be_repeated(
    own_valkey: ValkeyServer, own_logs: RedisLogs
) -> None:
    """The writer finds its entry as the tail."""
    log = own_logs.open()
    await fill(log, 1, 2)
    os.kill(own_valkey.pid, signal.SIGSTOP)
    try:
        appending = asyncio.create_task(log.append(entry(3), place(2)))
        await asyncio.wait([appending], timeout=0.1)
        appending.cancel()
        await asyncio.wait([appending], timeout=SOON_SECONDS)
    finally:
        os.kill(own_valkey.pid, signal.SIGCONT)
    deadline = time.monotonic() + SOON_SECONDS
    while (await log.extent()).tail != place(3):
        assert time.monotonic() < deadline
    with pytest.raises(LogMismatch):
        await log.append(entry(4), place(2))
    assert await places(log) == [place(1), place(2), place(3)]


async def test_a_full_redis_refuses_entries_and_keeps_the_log(own_logs: RedisLogs) -> None:
    """The log can start over, which makes room."""
    log = own_logs.open()
    await fill(log, 1, 2)
    await own_logs.configure("maxmemory", "1")
    try:
        with pytest.raises(LogUnavailable):
            await log.append(entry(3), place(2))
        assert await places(log) == [place(1), place(2)]
        await log.append(start(4), place(2))
    finally:
        await own_logs.configure("maxmemory", "0")
    await log.append(entry(5), place(4))
    assert await places(log) == [place(4), place(5)]


# Cancelling


async def test_a_task_that_only_uses_redis_ends_when_cancelled(redis_logs: RedisLogs) -> None:
    """At any moment."""
    log = redis_logs.open()

    async def ask() -> None:
        while True:
            await log.leader()

    for turns in range(60):
        task = asyncio.create_task(ask())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        _, pending = await asyncio.wait([task], timeout=SOON_SECONDS)
        assert not pending, f"continues after it was cancelled at yield {turns}"


@pytest.mark.parametrize("turns", range(0, 60, 3))
async def test_close_ends_at_once_while_the_doorbell_rings(redis_logs: RedisLogs, turns: int) -> None:
    log = redis_logs.open()
    await fill(log, 1, 2)
    for _ in range(turns):
        await asyncio.sleep(0)
    closing = asyncio.create_task(log.close())
    _, pending = await asyncio.wait([closing], timeout=SOON_SECONDS)
    assert not pending


async def test_close_keeps_the_log(redis_logs: RedisLogs) -> None:
    """Closing only frees connections."""
    log = redis_logs.open()
    await fill(log, 1, 2)
    await log.close()
    assert await places(redis_logs.open()) == [place(1), place(2)]


async def test_no_reader_sees_a_log_between_its_end_and_its_new_start(redis_logs: RedisLogs) -> None:
    log, reader = redis_logs.open(), redis_logs.open()
    await fill(log, 1, 2)
    seen: list[Extent] = []

    async def watch() -> None:
        while True:
            seen.append(await reader.extent())

    watching = asyncio.create_task(watch())
    tail = place(2)
    for step in range(3, 200):
        await log.append(replace(start(step)), tail)
        tail = place(step)
    watching.cancel()
    await asyncio.wait([watching])
    assert all(extent.first is not None for extent in seen)
    assert all(extent.first == extent.tail for extent in seen if extent.first != place(1))


# Who leads


async def test_a_writer_that_lost_the_lease_does_not_append(redis_logs: RedisLogs) -> None:
    """Even if the new owner has appended nothing yet, so that the tail is still the same."""
    one, other = redis_logs.open(), redis_logs.open()
    assert await one.acquire_lease("one", 60)
    await fill(one, 1, 2)
    await redis_logs.lose("leader")
    await one.append(entry(3), place(2))
    assert await other.acquire_lease("other", 60)
    with pytest.raises(LeaseLost, match="CS303"):
        await one.append(entry(4), place(3))
    await other.append(entry(4), place(3))
    assert await places(one) == [place(1), place(2), place(3), place(4)]


async def test_leadership_tells_the_leader_its_time_and_the_standbys(redis_logs: RedisLogs) -> None:
    log = redis_logs.open()
    assert await log.leadership() == Leadership(None, 0, 0)
    await log.acquire_lease("one", 60)
    await log.acquire_lease("two", 60)
    await log.acquire_lease("three", 0.05)
    found = await log.leadership()
    assert found.leader == "one"
    assert 50 < found.seconds_left <= 60

    async def three_is_gone() -> bool:
        return (await log.leadership()).standbys == 1

    async with asyncio.timeout(SOON_SECONDS):
        while not await three_is_gone():
            await asyncio.sleep(0.01)
    await log.release_lease("one")
    await log.acquire_lease("two", 60)
    assert (await log.leadership()).standbys == 0
