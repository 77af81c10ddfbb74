"""Lets code that is not asynchronous, in commands and admin, query a source."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from changesource.conf import load_settings
from changesource.errors import SourceUnreachable
from changesource.mongo.source import Database, Sources

T = TypeVar("T")

ASK_SECONDS = 10.0
"""A person is waiting for the answer, and a transaction of the Django database may be open."""


def ask_source(source: str, question: Callable[[Database], Awaitable[T]]) -> T:
    """What `question` returns for the database of `source`, over a connection of its own.

    `question` runs in another thread, since an event loop may be running in this one. Raises what
    `question` raises, `UnknownSource`, and `SourceUnreachable` after `ASK_SECONDS`.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="ask-source") as executor:
        return executor.submit(lambda: asyncio.run(_ask(source, question))).result()


async def _ask(source: str, question: Callable[[Database], Awaitable[T]]) -> T:
    sources = Sources(load_settings().sources)
    try:
        async with asyncio.timeout(ASK_SECONDS):
            return await question(sources.database(source))
    except TimeoutError as error:
        raise SourceUnreachable.after(ASK_SECONDS) from error
    finally:
        await sources.close()
