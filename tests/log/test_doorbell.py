"""doorbell.py: waiting where nothing can be heard. (`test_contract` and `test_redis` have what is heard.)"""

import asyncio

import pytest

from changesource.log import doorbell
from changesource.log.doorbell import Doorbell

LONG_SECONDS = 60.0
SOON_SECONDS = 5.0


class SilentLayer:
    """A channel layer that does not answer, as while it connects."""

    async def new_channel(self) -> str:
        return await asyncio.Event().wait() or ""


async def test_waiting_before_anything_can_be_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """What rang before the layer has subscribed was not heard, so a wait is short until then."""
    monkeypatch.setattr(doorbell, "get_channel_layer", SilentLayer)
    bell = Doorbell("shop")
    async with asyncio.timeout(SOON_SECONDS):
        await bell.wait(bell.generation, LONG_SECONDS)
    await bell.close()
