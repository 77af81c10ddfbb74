"""readiness.py: one answer a second for all who ask, with nothing in it that strangers may not know."""

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import Error as DatabaseError
from django.utils import timezone

from changesource.models import queries
from changesource.models.queries.awaited_replicas import Awaited
from changesource.operations import readiness as readiness_module
from changesource.operations.readiness import KINDS, Readiness, find_missing, kinds_of, missing_of


class Service:
    """One that has these apps, whose source and log are there."""

    def __init__(self, *app_ids: str) -> None:
        self.published_apps = {
            app_id: SimpleNamespace(app_id=app_id, definition=SimpleNamespace(source="default")) for app_id in app_ids
        }


@pytest.fixture(autouse=True)
def all_well(monkeypatch: pytest.MonkeyPatch) -> None:
    async def well(*arguments: Any) -> str:
        return ""

    for check in ("_check_source", "_check_identity", "_check_watched", "check_lag"):
        monkeypatch.setattr(readiness_module, check, well)


@pytest.fixture
def awaited(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What the Django database gives; exceptions are raised."""
    rows: list[Any] = []

    async def awaited_replicas(at_most: int) -> list[Awaited]:
        for row in rows:
            if isinstance(row, Exception):
                raise row
        return rows[:at_most]

    monkeypatch.setattr(queries.awaited_replicas, "awaited_replicas", awaited_replicas)
    return rows


async def test_all_callers_share_one_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many ask, at once and again and again, and whoever goes away: it is looked once a second at most."""
    searches = 0
    may_go_on = asyncio.Event()

    async def find(service: Any) -> dict[str, str]:
        nonlocal searches
        searches += 1
        await may_go_on.wait()
        return {"app shop": "away"}

    monkeypatch.setattr(readiness_module, "find_missing", find)
    monkeypatch.setattr(readiness_module, "FRESH_SECONDS", 3600)
    readiness, service = Readiness(), Service()
    asking = [asyncio.create_task(readiness.missing(service)) for _ in range(500)]  # type: ignore[arg-type]
    await asyncio.sleep(0)
    asking[0].cancel()
    may_go_on.set()
    answers = await asyncio.gather(*asking[1:])
    answers += [await readiness.missing(service) for _ in range(500)]  # type: ignore[arg-type]
    assert answers == [{"app shop": "away"}] * 999
    assert searches == 1
    monkeypatch.setattr(readiness_module, "FRESH_SECONDS", 0)
    await readiness.missing(service)  # type: ignore[arg-type]
    assert searches == 2


async def test_each_process_has_its_own_answer(awaited: list[Any]) -> None:
    """Two services do not share an answer."""
    one, another = Service("shop"), Service()
    awaited.append(Awaited("shop", 0, "lost", timezone.now()))
    assert list(await missing_of(one)) == ["replicas shop"]  # type: ignore[arg-type]
    assert await missing_of(another) == {}  # type: ignore[arg-type]


async def test_an_unexpected_exception_means_not_ready(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A process that does not know whether it is ready is not, and does not look more often for that."""
    searches = 0

    async def fail(service: Any) -> dict[str, str]:
        nonlocal searches
        searches += 1
        raise KeyError("secret")

    monkeypatch.setattr(readiness_module, "find_missing", fail)
    service = Service()
    for _ in range(3):
        missing = await missing_of(service)  # type: ignore[arg-type]
    assert kinds_of(missing) == {"check": KINDS["check"]}
    assert searches == 1
    assert "could not be determined" in caplog.text


async def test_strangers_learn_only_kinds(awaited: list[Any]) -> None:
    """The answer to everybody names no app, shard or reason, and is as long for many as for one; to staff it is bounded."""
    service = Service("shop", "other")
    awaited += [Awaited("shop" if n % 2 else "other", n, "r" * 200, timezone.now()) for n in range(10_000)]
    missing = await find_missing(service)  # type: ignore[arg-type]
    assert list(missing) == ["replicas other", "replicas shop"]
    assert len(str(missing)) < 10_000
    assert kinds_of(missing) == {"replicas": KINDS["replicas"]}


async def test_apps_that_are_not_published_are_left_out(awaited: list[Any]) -> None:
    """Replicas of an app that does not stream here are not missed."""
    awaited.append(Awaited("gone", 0, "lost", timezone.now()))
    assert await find_missing(Service("shop")) == {}  # type: ignore[arg-type]


async def test_a_database_that_is_away_is_reported(awaited: list[Any]) -> None:
    """Without what the database says."""
    awaited.append(DatabaseError("password"))
    missing = await find_missing(Service("shop"))  # type: ignore[arg-type]
    assert missing == {"database": "the Django database failed (Error)"}
