import asyncio
from typing import Any

import pytest

from changesource.conf import ChangeSourceSettings
from changesource.errors import TooManyStreams
from changesource.limits import limits as limits_module
from changesource.limits.limits import Limits
from changesource.limits.redis_semaphores import RedisSemaphores
from changesource.protocol import closing
from zerosources.embedded.servers import ValkeyServer


@pytest.fixture(autouse=True)
def short_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closing, "REFUSAL_DELAY_SECONDS", 0.1)


def limits_of(**limits: Any) -> Limits:
    return Limits(ChangeSourceSettings(**limits))


async def test_a_stream_too_many_is_refused_slowly() -> None:
    """It is told after the usual delay of a refusal. Other clients are not affected."""
    limits = limits_of(streams_per_client=2)
    async with limits.stream_slot(1), limits.stream_slot(1):
        async with asyncio.timeout(5):
            with pytest.raises(TooManyStreams):
                async with limits.stream_slot(1):
                    pass
        async with limits.stream_slot(2):
            pass
    async with limits.stream_slot(1):
        pass
    await limits.close()


async def test_a_stream_that_ends_meanwhile_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that would be refused a moment later is let in when another one ends."""
    monkeypatch.setattr(closing, "REFUSAL_DELAY_SECONDS", 10)
    limits = limits_of(streams_per_client=1)
    first = limits.stream_slot(1)
    await first.__aenter__()

    async def second() -> None:
        async with limits.stream_slot(1):
            pass

    waiting = asyncio.create_task(second())
    await asyncio.sleep(0)
    assert not waiting.done()
    await first.__aexit__(None, None, None)
    async with asyncio.timeout(20):
        await waiting
    await limits.close()


async def test_snapshots_of_a_client_run_in_the_order_of_their_arrival() -> None:
    """One at a time, however many wait. Those of another app do not wait for them."""
    limits = limits_of(snapshots_per_app=1)
    order: list[int] = []
    running = 0

    async def snapshot(number: int) -> None:
        nonlocal running
        async with limits.snapshot_slot("app", 1):
            running += 1
            assert running == 1
            order.append(number)
            async with limits.snapshot_slot("another", 1):
                await asyncio.sleep(0)
            running -= 1

    async with asyncio.timeout(10):
        await asyncio.gather(*map(snapshot, range(10)))
    assert order == list(range(10))
    await limits.close()


async def test_a_client_does_not_wait_for_all_snapshots_of_another() -> None:
    """One client's snapshots never end, and more of them wait. Another client's snapshot begins at once, and a third one's
    as soon as any has ended, before those that arrived earlier."""
    limits = limits_of(snapshots_per_app=4)
    held = [limits.snapshot_slot("app", 1) for _ in range(20)]
    slow = [asyncio.create_task(slot.__aenter__()) for slot in held]
    async with asyncio.timeout(20):
        await asyncio.wait(slow, return_when=asyncio.FIRST_COMPLETED)
        second = limits.snapshot_slot("app", 2)
        await second.__aenter__()
        assert sum(task.done() for task in slow) == 3
        third = asyncio.create_task(limits.snapshot_slot("app", 3).__aenter__())
        await asyncio.sleep(0)
        await held[0].__aexit__(None, None, None)
        await third
        await second.__aexit__(None, None, None)
        await asyncio.wait(slow, return_when=asyncio.ALL_COMPLETED, timeout=0.01)
    assert sum(task.done() for task in slow) == 4
    for task in slow:
        task.cancel()
    await asyncio.gather(*slow, return_exceptions=True)
    await limits.close()


async def test_a_cancelled_snapshot_leaves_the_queue() -> None:
    """The next one is served."""
    limits = limits_of(snapshots_per_app=1)
    slot = limits.snapshot_slot("app", 1)
    await slot.__aenter__()
    gone = asyncio.create_task(limits.snapshot_slot("app", 1).__aenter__())
    last = asyncio.create_task(limits.snapshot_slot("app", 1).__aenter__())
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    await slot.__aexit__(None, None, None)
    async with asyncio.timeout(20):
        await last
    await limits.close()


async def test_zero_is_no_limit() -> None:
    """For streams and for snapshots."""
    limits = limits_of(streams_per_client=0, snapshots_per_app=0)
    async with limits.stream_slot(1), limits.stream_slot(1), limits.snapshot_slot("a", 1), limits.snapshot_slot("a", 1):
        pass
    await limits.close()


async def test_a_slot_is_held_across_processes_for_as_long_as_it_is_used(
    valkey_server: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even for longer than the expiry. Closing frees it."""
    monkeypatch.setattr(limits_module, "RENEW_SECONDS", 0.05)
    monkeypatch.setattr(limits_module, "ACQUIRE_SECONDS", 0.05)
    settings = ChangeSourceSettings(streams_per_client=1)
    one = Limits(settings, RedisSemaphores(valkey_server.url, expiry_seconds=0.5))
    another = Limits(settings, RedisSemaphores(valkey_server.url, expiry_seconds=0.5))
    client_id = id(one)
    held = one.stream_slot(client_id)
    await held.__aenter__()
    monkeypatch.setattr(closing, "REFUSAL_DELAY_SECONDS", 1.0)
    with pytest.raises(TooManyStreams):
        await another.stream_slot(client_id).__aenter__()
    await one.close()
    async with another.stream_slot(client_id):
        await held.__aexit__(None, None, None)
    await another.close()
