"""database_threads.py: which questions to the Django database wait for which others."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connection, connections

from changesource.models import Client, database_threads, queries
from changesource.models.database_threads import AUTHENTICATION, STREAMS, close_connections
from changesource.models.queries.access import ClientInApp
from tests.models.builders import build_app

pytestmark = pytest.mark.django_db(transaction=True)

SOON_SECONDS = 20.0


@pytest.fixture
def client() -> Client:
    return Client.objects.create_for_apps("cache", [build_app()])


@pytest.fixture
def held_up() -> Iterator[threading.Event]:
    """A thread that waits for this does so until the end of the test."""
    event = threading.Event()
    yield event
    event.set()


async def test_nothing_holds_up_what_ends_streams(client: Client, held_up: threading.Event) -> None:
    """While asgiref's thread, and those of streams and of tokens, wait for the database, it is known what clients may have,
    and which replicas are missed."""
    waiting = [
        asyncio.ensure_future(sync_to_async(held_up.wait)()),
        asyncio.ensure_future(STREAMS.ask(held_up.wait)),
        asyncio.ensure_future(AUTHENTICATION.ask(held_up.wait)),
    ]
    await asyncio.sleep(0)
    async with asyncio.timeout(SOON_SECONDS):
        assert list(await queries.access.read_entitlements([client.pk])) == [ClientInApp(client.pk, "shop")]
        assert await queries.awaited_replicas.awaited_replicas(1) == []
    held_up.set()
    await asyncio.gather(*waiting)


async def test_tokens_hold_up_no_streams(client: Client, held_up: threading.Event) -> None:
    """However many tokens are looked up."""
    waiting = asyncio.ensure_future(AUTHENTICATION.ask(held_up.wait))
    await asyncio.sleep(0)
    async with asyncio.timeout(SOON_SECONDS):
        assert await queries.replicas.find_replica("shop", 0, "5a") is None
    held_up.set()
    await waiting


async def test_a_cancelled_query_that_has_not_begun_is_dropped(held_up: threading.Event) -> None:
    """A query that has not begun is not asked any more."""
    first = asyncio.ensure_future(STREAMS.ask(held_up.wait))
    begun: list[int] = []
    second = asyncio.ensure_future(STREAMS.ask(begun.append, 1))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.wait([second])
    held_up.set()
    await first
    await STREAMS.ask(begun.append, 2)
    assert begun == [2]


async def test_a_query_runs_in_its_thread(client: Client) -> None:
    """Called as a coroutine function; `blocking` runs it in the caller's thread."""

    @STREAMS.query
    def thread_name() -> str:
        return threading.current_thread().name

    assert (await thread_name()).startswith("database-streams")
    assert thread_name.blocking() == threading.current_thread().name


async def test_connections_are_closed(client: Client) -> None:
    """At the end, in each thread; a later question opens another."""

    def is_open() -> bool:
        return connection.connection is not None

    await STREAMS.ask(lambda: connection.ensure_connection())  # the thread's own: not of this one
    await close_connections()
    assert not await STREAMS.ask(is_open)
    assert await queries.replicas.find_replica("shop", 0, "5a") is None


def current_connection() -> Any:
    return connection.connection


async def test_connections_stay_open(client: Client) -> None:
    """From one question to the next, though CONN_MAX_AGE is 0."""
    await queries.replicas.find_replica("shop", 0, "5a")
    first = await STREAMS.ask(current_connection)
    assert first is not None
    assert await STREAMS.ask(current_connection) is first


@pytest.mark.parametrize("why", ["it has failed", "it was idle"])
async def test_broken_connections_are_replaced(client: Client, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    """After a failure; and one that was closed while nobody used it, before anything fails."""

    def note_error() -> None:
        connection.errors_occurred = True

    await queries.replicas.find_replica("shop", 0, "5a")
    first = await STREAMS.ask(current_connection)
    with monkeypatch.context() as broken:
        broken.setattr(type(connections["default"]), "is_usable", lambda self: False)
        if why == "it was idle":
            broken.setattr(database_threads, "IDLE_SECONDS", 0.0)
            assert await queries.replicas.find_replica("shop", 0, "5a") is None
        else:
            await STREAMS.ask(note_error)
    assert await queries.replicas.find_replica("shop", 0, "5a") is None
    assert await STREAMS.ask(current_connection) is not first
