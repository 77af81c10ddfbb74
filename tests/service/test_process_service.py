"""service.py: how the service of a process starts and ends."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from changesource import service as service_module
from changesource.models import queries
from changesource.service import running_service, stop_service


class Database:
    """A Django database that answers once it `may_answer`, and then fails if there is an
    `error`."""

    def __init__(self) -> None:
        self.is_asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.questions = 0
        self.error: Exception | None = None

    async def documents_with_row_errors(self, app_ids: Any) -> dict[str, Any]:
        self.questions += 1
        self.is_asked.set()
        await self.may_answer.wait()
        if self.error is not None:
            raise self.error
        return {}

    async def nothing(self, *args: Any) -> dict[str, Any]:
        return {}


@pytest.fixture
async def database(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    database = Database()
    monkeypatch.setattr(queries.row_errors, "documents_with_row_errors", database.documents_with_row_errors)
    monkeypatch.setattr(queries.published, "published_apps", database.nothing)
    monkeypatch.setattr(queries.pruning, "prune_replicas", database.nothing)
    monkeypatch.setattr(queries.audit, "prune_audit", database.nothing)
    monkeypatch.setattr(service_module, "_service", None)
    monkeypatch.setattr(service_module, "_start", None)
    yield database
    await stop_service()


async def test_a_cancelled_first_caller_does_not_stop_the_start(database: Database) -> None:
    """A probe with a short timeout. Later callers get the service, which is started once."""
    async with asyncio.timeout(20):
        probe = asyncio.create_task(running_service())
        await database.is_asked.wait()
        probe.cancel()
        await asyncio.wait([probe])
        assert probe.cancelled()
        others = [asyncio.create_task(running_service()) for _ in range(3)]
        database.may_answer.set()
        services = await asyncio.gather(*others)
    assert len(set(map(id, services))) == 1
    assert database.questions == 1


async def test_every_caller_is_told_that_the_start_failed(database: Database) -> None:
    """None of them waits forever."""
    database.error = ValueError("a fault of ours")
    database.may_answer.set()
    async with asyncio.timeout(20):
        for _ in range(2):
            with pytest.raises(ValueError, match="a fault of ours"):
                await running_service()


async def test_a_stop_during_the_start_ends_it(database: Database) -> None:
    """A caller that waits for the start is cancelled."""
    async with asyncio.timeout(20):
        waiting = asyncio.create_task(running_service())
        await database.is_asked.wait()
        await stop_service()
        await asyncio.wait([waiting])
    assert waiting.cancelled()
