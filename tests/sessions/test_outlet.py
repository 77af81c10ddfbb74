"""outlet.py: how long a client may let us wait. (`test_transactions` has stalls, and portions.)"""

import asyncio
import time
from collections.abc import Iterator, Sequence

import pytest

from changesource.sessions.outlet import SEND_BYTES, ClientStalled, PacedOutlet, SnapshotTooSlow

STALL_SECONDS = 0.3
FRAME = b"x" * SEND_BYTES
PLENTY = 1_000


class Reader:
    """Takes each portion after so many seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.portions = 0

    async def send_frames(self, frames: Sequence[bytes]) -> None:
        await asyncio.sleep(self.seconds)
        self.portions += 1


@pytest.mark.parametrize("portions_at_once", [1, PLENTY])
async def test_a_client_that_reads_too_little_over_the_whole_is_dropped(portions_at_once: int) -> None:
    """A client that never stalls, but is slower than the least rate, is dropped when the time of a stall is used up."""
    reader = Reader(STALL_SECONDS / 6)
    outlet = PacedOutlet(reader, STALL_SECONDS, least_bytes_per_second=1000 * SEND_BYTES)
    began = time.monotonic()

    async def send_for_long() -> None:
        for _ in range(PLENTY):
            await outlet.send([FRAME] * portions_at_once)

    with pytest.raises(SnapshotTooSlow):
        await send_for_long()
    assert 1 <= reader.portions <= 7
    assert time.monotonic() - began < 5 * STALL_SECONDS


async def test_a_client_that_has_read_fast_may_be_slow_for_a_while() -> None:
    """What was read fast is to a client's credit: it may be slow for a while then."""
    reader = Reader(0)
    outlet = PacedOutlet(reader, STALL_SECONDS, least_bytes_per_second=20 * SEND_BYTES)
    await outlet.send([FRAME] * 40)  # for which it might have taken two seconds
    reader.seconds = STALL_SECONDS / 3
    await outlet.send([FRAME] * 10)
    assert outlet.sent_bytes == 50 * SEND_BYTES


async def test_our_own_time_does_not_count() -> None:
    """While rows are read and rendered, the client waits for us."""

    def rendered() -> Iterator[bytes]:
        for _ in range(10):
            time.sleep(STALL_SECONDS / 5)
            yield FRAME

    outlet = PacedOutlet(Reader(0), STALL_SECONDS, least_bytes_per_second=1000 * SEND_BYTES)
    await outlet.send(rendered())
    for _ in range(3):
        await asyncio.sleep(STALL_SECONDS / 2)
        await outlet.send([FRAME])


@pytest.mark.parametrize("least", [0, SEND_BYTES])
async def test_a_client_that_reads_nothing_has_stalled(least: int) -> None:
    """That is a stall, with a least rate or without."""
    with pytest.raises(ClientStalled):
        await PacedOutlet(Reader(60), STALL_SECONDS, least).send([FRAME])


async def test_without_a_least_rate_a_client_may_read_slowly() -> None:
    """A live stream goes as slowly as its client likes."""
    await PacedOutlet(Reader(STALL_SECONDS / 3), STALL_SECONDS).send([FRAME] * 6)


class Everything:
    """A socket that takes everything at once."""

    async def send_frames(self, frames: Sequence[bytes]) -> None:
        return None


async def test_other_tasks_run_while_much_is_sent() -> None:
    """Also where the client never lets us wait, and there is always more to send."""
    has_been_their_turn = asyncio.Event()
    deadline = time.monotonic() + 5

    def more() -> Iterator[bytes]:
        while not has_been_their_turn.is_set() and time.monotonic() < deadline:
            yield FRAME

    asyncio.get_running_loop().call_soon(has_been_their_turn.set)
    await PacedOutlet(Everything(), STALL_SECONDS).send(more())
    assert has_been_their_turn.is_set()
