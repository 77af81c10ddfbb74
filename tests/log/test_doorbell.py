"""doorbell.py: waits while nothing can be heard. (`test_contract` and `test_redis` have the other
waits.)"""

import asyncio

import pytest

from changesource.log import doorbell
from changesource.log.doorbell import Doorbell

LONG_SECONDS = 60.0
SOON_SECONDS = 20.0


class SilentLayer:
    """A channel layer that does not answer, as while it connects."""

    async def new_channel(self) -> str:
        return await asyncio.Event().wait() or ""


async def test_a_wait_is_short_until_the_layer_has_subscribed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ring before the subscription is not heard."""
    monkeypatch.setattr(doorbell, "get_channel_layer", SilentLayer)
    bell = Doorbell("shop")
    async with asyncio.timeout(SOON_SECONDS):
        await bell.wait(bell.generation, LONG_SECONDS)
    await bell.close()
