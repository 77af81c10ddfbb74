"""The rights that docs/security.md gives to the user of Redis suffice, and no right is
superfluous."""

from __future__ import annotations

import asyncio
import re
import uuid
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
from channels.layers import get_channel_layer
from redis.exceptions import NoPermissionError

from changesource.errors import LogUnavailable
from changesource.limits.redis_semaphores import RedisSemaphores
from changesource.limits.semaphores import Ticket
from changesource.log.redis import RedisLog
from tests.log.builders import entry, fill, place
from zerosources.embedded.servers import ValkeyServer

SECURITY = Path(__file__).resolve().parents[2] / "docs" / "security.md"


@pytest.fixture
async def url(valkey_server: ValkeyServer, settings: Any) -> str:
    """The URL of the user that the page describes."""
    [command] = re.findall(r"^ +(ACL SETUSER zero .*)$", SECURITY.read_text(), re.MULTILINE)
    admin = redis.asyncio.Redis.from_url(valkey_server.url)
    await admin.execute_command(*command.replace("PASSWORD", "secret").split())
    await admin.aclose()
    url = valkey_server.url.replace("redis://", "redis://zero:secret@")
    settings.CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": [{"address": url, "socket_timeout": None}], "prefix": "changesource"},
        }
    }
    return url


async def test_the_documented_rights_suffice(url: str) -> None:
    """The log, its doorbell, leases and limits work."""
    log = RedisLog(url, uuid.uuid4().hex, max_bytes=1_000)
    semaphores = RedisSemaphores(url)
    try:
        assert await log.acquire_lease("me", 5)
        assert (await log.leadership()).leader == "me"
        await fill(log, 1)
        async with asyncio.timeout(20):
            for step in range(2, 1_000):
                if log.generation and step > 50:
                    break
                await log.append(entry(step, tables={"t": b"x" * 100}), place(step - 1))
                await log.wait(log.generation, 0.01)
        assert log.generation, "the doorbell was not heard"
        await log.trim()
        assert 0 < len(await log.read(None, 1_000)) < 49
        assert (await log.extent()).tail
        await log.release_lease("me")
        mine = Ticket(uuid.uuid4().hex, "me", "a client")
        assert await semaphores.acquire(mine, 1, 1)
        await semaphores.release(mine)
    finally:
        await log.close()
        await semaphores.close()
        await get_channel_layer().flush()


@pytest.mark.parametrize(
    "command", ["KEYS *", "FLUSHALL", "CONFIG GET *", "GET other:key", "PUBLISH other x", "ACL LIST"]
)
async def test_the_documented_rights_give_nothing_else(url: str, command: str) -> None:
    """Keys of others, and commands about the server, are refused."""
    client = redis.asyncio.Redis.from_url(url)
    try:
        with pytest.raises(NoPermissionError):
            await client.execute_command(*command.split())
    finally:
        await client.aclose()


@pytest.mark.parametrize(
    ("without", "missing"),
    [
        ("-time", "may not run TIME"),
        ("-xadd", "may not run XADD"),
        ("-set", "may not run SET"),
        ("-eval -evalsha", "may not run EVALSHA"),
        ("resetkeys ~other:*", "may not use a key that begins with changesource"),
    ],
)
async def test_a_right_that_is_missing_is_named(
    url: str, valkey_server: ValkeyServer, without: str, missing: str
) -> None:
    """The message names the right, and not the user."""
    admin = redis.asyncio.Redis.from_url(valkey_server.url)
    await admin.execute_command("ACL", "SETUSER", "zero", *without.split())
    await admin.aclose()
    log = RedisLog(url, uuid.uuid4().hex)

    async def lead() -> None:
        await log.acquire_lease("me", 5)
        await fill(log, 1)

    try:
        with pytest.raises(LogUnavailable, match=missing) as caught:
            await lead()
        assert "zero" not in str(caught.value)
    finally:
        await log.close()
