"""Logs of both kinds."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from changesource.log.entries import ChangeLog
from changesource.log.memory import MemoryLog
from tests.log.opening import RedisLogs
from zerosources.embedded.servers import ValkeyServer

OpenLog = Callable[..., ChangeLog]
"""Opens the test's one log, again at each call, as several processes would. Takes `max_bytes`."""


@pytest.fixture
async def redis_logs(valkey_server: ValkeyServer, settings: Any) -> AsyncIterator[RedisLogs]:
    async with RedisLogs(valkey_server.url, settings) as logs:
        yield logs


@pytest.fixture(params=["memory", "redis"])
def open_log(request: pytest.FixtureRequest) -> OpenLog:
    """Opens a log of either kind. A log in memory has one process: opening it again returns the
    same object."""
    if request.param == "redis":
        logs: RedisLogs = request.getfixturevalue("redis_logs")
        return logs.open
    opened: list[MemoryLog] = []

    def open_memory_log(**limits: Any) -> MemoryLog:
        if not opened:
            opened.append(MemoryLog(**limits))
        return opened[0]

    return open_memory_log


@pytest.fixture
def log(open_log: OpenLog) -> ChangeLog:
    return open_log()
