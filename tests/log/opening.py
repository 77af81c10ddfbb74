"""Logs in a Redis, opened as several processes would."""

import uuid
from types import TracebackType
from typing import Any, Self

import redis.asyncio
from channels.layers import get_channel_layer

from changesource.log.redis import RedisLog


class RedisLogs:
    """One log by a name of its own, each `open` a writer or reader of it; and the keys that it is made of.

    Channels' layer is on the same Redis meanwhile. `settings` is pytest-django's fixture.
    """

    def __init__(self, url: str, settings: Any) -> None:
        self.name = uuid.uuid4().hex
        self._url = url
        self._opened: list[RedisLog] = []
        self._redis = redis.asyncio.Redis.from_url(url)
        settings.CHANNEL_LAYERS = {
            "default": {
                "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
                "CONFIG": {"hosts": [url], "prefix": f"tests-{self.name}"},
            }
        }

    def open(self, **limits: Any) -> RedisLog:
        log = RedisLog(self._url, self.name, **limits)
        self._opened.append(log)
        return log

    async def lose(self, *parts: str) -> None:
        """Deletes keys of the log: its `log`, its `tail`, its `leader`."""
        await self._redis.delete(*(f"changesource:{{{self.name}}}:{part}" for part in parts))

    async def pause(self, milliseconds: int) -> None:
        """Redis answers nobody for this time."""
        await self._redis.client_pause(milliseconds)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for log in self._opened:
            await log.close()
        await get_channel_layer().flush()
        await self._redis.aclose()
