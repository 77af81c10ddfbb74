"""changesource/limits/one_at_a_time.py"""

from __future__ import annotations

import asyncio
import time

import pytest

from changesource.limits import one_at_a_time
from changesource.limits.one_at_a_time import MAX_REST_SECONDS, REST_FACTOR, OneAtATime


async def test_while_one_works_no_other_begins() -> None:
    turns = OneAtATime()
    order: list[str] = []
    may_end = asyncio.Event()

    async def work(name: str) -> None:
        async with turns.work():
            order.append(f"{name} begins")
            await may_end.wait()
            order.append(f"{name} ends")

    tasks = [asyncio.create_task(work(name)) for name in ("first", "second", "third")]
    while not order:
        await asyncio.sleep(0)
    assert order == ["first begins"]
    may_end.set()
    await asyncio.gather(*tasks)
    assert order == [f"{name} {what}" for name in ("first", "second", "third") for what in ("begins", "ends")]


async def test_those_who_wait_begin_after_a_rest() -> None:
    """Which is as long as the work before it demands, up to a limit."""
    turns = OneAtATime()
    times: list[float] = []

    async def work(seconds: float) -> None:
        async with turns.work():
            times.append(time.monotonic())
            await asyncio.sleep(seconds)
            times.append(time.monotonic())

    short = MAX_REST_SECONDS / REST_FACTOR / 2
    await asyncio.gather(work(short), work(MAX_REST_SECONDS), work(short))
    after_short, after_long = times[2] - times[1], times[4] - times[3]
    assert after_short >= MAX_REST_SECONDS / 2 * 0.9
    assert after_long >= MAX_REST_SECONDS * 0.9


async def test_without_anyone_who_waits_there_is_no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_at_a_time, "MAX_REST_SECONDS", 3600.0)
    monkeypatch.setattr(one_at_a_time, "REST_FACTOR", 10**9)
    turns = OneAtATime()
    async with asyncio.timeout(5):
        for _ in range(2):
            async with turns.work():
                pass


async def test_work_that_fails_or_is_cancelled_lets_the_next_begin() -> None:
    turns = OneAtATime()

    async def work() -> None:
        async with turns.work():
            await asyncio.Event().wait()

    working, waiting = asyncio.create_task(work()), asyncio.create_task(work())
    await asyncio.sleep(0)
    for task in (waiting, working):
        task.cancel()
    await asyncio.gather(working, waiting, return_exceptions=True)
    async with asyncio.timeout(5), turns.work():
        pass
