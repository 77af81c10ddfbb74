"""How long the event loop keeps other tasks waiting."""

import asyncio
import time
from collections.abc import Callable
from typing import Self

TICK_SECONDS = 0.002


class LoopLag:
    """Measures within the `async with` block, and calls `on_tick` each time. The lags include the
    time that other processes of the machine take."""

    def __init__(self, on_tick: Callable[[], None] = lambda: None) -> None:
        self.lags: list[float] = []
        self._on_tick = on_tick

    @property
    def worst(self) -> float:
        return max(self.lags)

    def quantile(self, fraction: float) -> float:
        """Returns the lag that was not exceeded during this fraction of the time (not of the
        ticks)."""
        found = sorted(self.lags)
        left = sum(found) * fraction
        for lag in found:
            left -= lag
            if left <= 0:
                return lag
        return found[-1]

    async def _tick(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(TICK_SECONDS)
            self.lags.append(time.monotonic() - before - TICK_SECONDS)
            self._on_tick()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._tick())
        await asyncio.sleep(5 * TICK_SECONDS)
        self.lags.clear()
        return self

    async def __aexit__(self, *error: object) -> None:
        await asyncio.sleep(TICK_SECONDS)
        self._task.cancel()

    def __str__(self) -> str:
        return f"worst {self.worst * 1000:.0f} ms, 95 % of the time below {self.quantile(0.95) * 1000:.0f} ms"
