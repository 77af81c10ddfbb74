"""What happens to refused connections: they are held for a while, counted for admin, and logged at
a bounded rate."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from django.db import Error as DatabaseError

from changesource.limits.addresses import network_of
from changesource.limits.buckets import TokenBuckets
from changesource.models import queries
from changesource.models.queries.refusals import Refused
from changesource.protocol import closing
from changesource.tasks import end_tasks

logger = logging.getLogger(__name__)

MAX_HELD_PER_ADDRESS = 50
MAX_HELD = 500
"""Beyond these numbers a client is told at once: sockets that are held cost memory."""
MAX_PENDING = 1_000
"""How many different refusals are counted within `FLUSH_SECONDS`."""
FLUSH_SECONDS = 1.0
OTHER_ADDRESSES = "other addresses"
"""What refusals are counted under when there are too many different ones."""
LOG_SECONDS = 60.0
"""How often the same refusal of the same address is logged."""
LOG_LINES_PER_MINUTE = 120
MAX_LOGGED = 1_000


class Holds:
    """Holds refused connections for `closing.REFUSAL_DELAY_SECONDS`, which slows down clients that
    come back at once."""

    def __init__(self, per_address: int = MAX_HELD_PER_ADDRESS, in_all: int = MAX_HELD) -> None:
        self._per_address = per_address
        self._in_all = in_all
        self._held: Counter[str] = Counter()

    async def hold(self, address: str) -> None:
        """Returns after the delay, or at once if too many are being held."""
        network = network_of(address)
        if self._held[network] >= self._per_address or self._held.total() >= self._in_all:
            if not self._held[network]:
                del self._held[network]
            return
        self._held[network] += 1
        try:
            await asyncio.sleep(closing.REFUSAL_DELAY_SECONDS)
        finally:
            self._held[network] -= 1
            if not self._held[network]:
                del self._held[network]

    def __len__(self) -> int:
        return self._held.total()


class RefusalNotes:
    """Counts and logs refusals, and stores the counts about once a second while there are any."""

    def __init__(self, *, max_pending: int = MAX_PENDING, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_pending = max_pending
        self._pending: Counter[Refused] = Counter()
        self._log = RefusalLog(clock)
        self._flusher: asyncio.Task[None] | None = None

    def note(self, refused: Refused) -> None:
        self._count(refused, 1)
        self._log.note(refused)
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush_soon())

    async def close(self) -> None:
        """Stores the pending counts."""
        if self._flusher is not None:
            await end_tasks(self._flusher)
        if self._pending:
            await self._flush()

    @property
    def pending(self) -> Mapping[Refused, int]:
        return self._pending

    def _count(self, refused: Refused, times: int) -> None:
        if refused not in self._pending and len(self._pending) >= self._max_pending:
            refused = replace(refused, address=OTHER_ADDRESSES, client="")
        self._pending[refused] += times

    async def _flush_soon(self) -> None:
        while self._pending:
            await asyncio.sleep(FLUSH_SECONDS)
            await self._flush()

    async def _flush(self) -> None:
        counts, self._pending = self._pending, Counter()
        try:
            await queries.refusals.record_refusals(counts)
        except DatabaseError as error:
            logger.warning("%d refusals could not be stored (%s)", counts.total(), type(error).__name__)
            for refused, times in counts.items():
                self._count(refused, times)


@dataclass(slots=True)
class _Logged:
    at: float
    more: int = 0


class RefusalLog:
    """Logs the first refusal of each kind, then at most one line a minute with how many there
    were."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._logged: OrderedDict[Refused, _Logged] = OrderedDict()
        self._lines = TokenBuckets(LOG_LINES_PER_MINUTE, clock=clock)

    def note(self, refused: Refused) -> None:
        now = self._clock()
        logged = self._logged.get(refused)
        if logged is not None and (now - logged.at < LOG_SECONDS or not self._lines.take("")):
            logged.more += 1
            return
        if logged is None and not self._lines.take(""):
            return
        logger.warning(
            "refused a connection from %s%s: %d, %s%s",
            refused.address,
            f" of client {refused.client}" if refused.client else "",
            refused.code,
            refused.reason,
            f" ({logged.more} more since it was last logged)" if logged is not None and logged.more else "",
            extra={"action": "refused"},
        )
        self._logged[refused] = _Logged(now)
        self._logged.move_to_end(refused)
        if len(self._logged) > MAX_LOGGED:
            self._logged.popitem(last=False)
