"""Logs, and a Valkey for the tests that flush, pause or stop it."""

import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from channels.layers import get_channel_layer

from changesource.log.entries import ChangeLog
from changesource.log.memory import MemoryLog
from changesource.log.redis import RedisLog
from zerosources.embedded.servers import ValkeyServer

OpenLog = Callable[..., ChangeLog]
"""Opens the test's one log, again at each call, as several processes would. Takes the log's limits."""


@pytest.fixture(params=["memory", "redis"])
async def open_log(request: pytest.FixtureRequest, settings: Any) -> AsyncIterator[OpenLog]:
    """Both kinds of log. The memory log has one process, so that opening it again gives the same object."""
    if request.param == "redis":
        server: ValkeyServer = request.getfixturevalue("valkey_server")
        async with redis_logs(server.url, settings) as open_redis_log:
            yield open_redis_log
        return
    opened: list[MemoryLog] = []

    def open_memory_log(*, max_bytes: int | None = None) -> MemoryLog:
        if not opened:
            opened.append(MemoryLog() if max_bytes is None else MemoryLog(max_bytes))
        return opened[0]

    yield open_memory_log


@pytest.fixture
async def log(open_log: OpenLog) -> ChangeLog:
    return open_log()
