"""client_access.py, stream.py, transition.py, snapshot.py: what a client may read changes at any moment, and each of its
replicas follows."""

import asyncio
import logging
import os
import random
from typing import Any

import pytest

from tests.examples import examples
from tests.simulation.client_world import BrokeOff, Done, World, ZeroCache, in_this_thread, new_client

SEEDS = int(os.environ.get("ACCESS_SEEDS", examples(100)))


@pytest.fixture(autouse=True)
def in_loop(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Queries in the event loop's thread, and no log of thousands of sessions."""
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    logging.disable(logging.ERROR)
    with in_this_thread():
        yield
    logging.disable(logging.NOTSET)


async def run(world: World) -> None:
    """One zero-cache after the other connects, is cut off, and comes back, until all is at rest."""
    caches = [ZeroCache(world), ZeroCache(world)]
    at_rest: set[int] = set()
    for _ in range(400):
        if len(at_rest) == len(caches):
            break
        number = world.draw((0, 1)) if world.actions > 0 else min({0, 1} - at_rest)
        world.idle = 0
        try:
            await caches[number].connect()
        except BrokeOff:
            continue
        except Done:
            at_rest = at_rest | {number} if world.actions <= 0 else set()
    assert len(at_rest) == len(caches), "it does not come to rest"
    for cache in caches:
        assert cache.contents() == world.expected()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("seed", range(10_000, 10_000 + SEEDS))
def test_tables_that_a_grant_did_not_name_are_never_sent(seed: int) -> None:
    """A tenant whose grant always names its tables, by row filters or in a list, is never sent a row of a table that it did
    not name while the table streamed, from the collection that it had then; and its replicas follow."""
    world = World(random.Random(seed).choice, new_client("tenant"), actions=5 + seed % 40, has_filters=True)
    with world.patched():
        asyncio.run(run(world))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("seed", range(20_000, 20_000 + SEEDS // 2))
def test_replicas_follow_changes_of_columns_and_indexes(seed: int) -> None:
    """The same with optional columns, some of which cannot be computed, and indexes that come and go in tables which stay."""
    world = World(random.Random(seed).choice, new_client("tenant"), actions=5 + seed % 40, has_small_changes=True)
    with world.patched():
        asyncio.run(run(world))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("seed", range(SEEDS))
def test_replicas_follow_whatever_happens(seed: int) -> None:
    """Documents, tables, filters, attributes and versions change while sessions come, break off anywhere and resume at any
    watermark in another process, with markers that are lost or written twice: at the end each replica holds the rows, tables
    and permissions that the grant and the version give, and nothing was sent that a stored change takes away."""
    world = World(random.Random(seed).choice, new_client("tenant"), actions=5 + seed % 40)
    with world.patched():
        asyncio.run(run(world))
