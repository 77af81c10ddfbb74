"""Logs in a Redis, opened as by several processes."""

import uuid
from types import TracebackType
from typing import Any, Self

import redis.asyncio
from channels.layers import get_channel_layer

from changesource.log.redis import RedisLog


class RedisLogs:
    """One log with a new name. Each `open` gives a writer or a reader of it. Channels' layer is on
    the same Redis meanwhile. `settings` is pytest-django's fixture."""

    def __init__(self, url: str, settings: Any) -> None:
        self.name = uuid.uuid4().hex
        self._url = url
        self._opened: list[RedisLog] = []
        self._redis = redis.asyncio.Redis.from_url(url)
        settings.CHANNEL_LAYERS = {
            "default": {
                "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
                "CONFIG": {"hosts": [{"address": url, "socket_timeout": None}], "prefix": f"tests-{self.name}"},
            }
        }

    def open(self, **limits: Any) -> RedisLog:
        log = RedisLog(self._url, self.name, **limits)
        self._opened.append(log)
        return log

    def open_another(self, **limits: Any) -> RedisLog:
        """Opens a log with a new name, which the other methods concern from then on."""
        self.name = uuid.uuid4().hex
        return self.open(**limits)

    async def lose(self, *parts: str) -> None:
        """Deletes keys of the log: `log`, `tail` or `leader`."""
        await self._redis.delete(*map(self._key, parts))

    async def shorten(self, length: int) -> None:
        """Leaves this number of the newest entries."""
        await self._redis.xtrim(self._key("log"), maxlen=length, approximate=False)

    async def flush(self) -> None:
        """Deletes everything in this Redis."""
        await self._redis.flushall()

    async def configure(self, name: str, value: str) -> None:
        """Changes a setting of this Redis."""
        await self._redis.config_set(name, value)

    async def seconds_to_live(self, *parts: str) -> list[int]:
        return [await self._redis.ttl(self._key(part)) for part in parts]

    async def log_bytes(self) -> int:
        """Returns how much memory the log takes."""
        return await self._redis.memory_usage(self._key("log"), samples=0) or 0

    async def calls(self, command: str) -> int:
        """Returns how often this Redis was sent a command, for example `memory|usage`."""
        return (await self._redis.info("commandstats")).get(f"cmdstat_{command}", {}).get("calls", 0)

    def _key(self, part: str) -> str:
        return f"changesource:4:{{{self.name}}}:{part}"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for log in self._opened:
            await log.close()
        await get_channel_layer().flush()
        await self._redis.aclose()
