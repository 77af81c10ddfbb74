"""Trials that do what no trial should, run as `python -m tests.trials.hostile` in place of the product's."""

from __future__ import annotations

import asyncio
import ctypes
import os
import resource
import sys
import threading
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

from changesource.mql import MqlError
from changesource.trials.__main__ import main

Items = AsyncGenerator[Any, None]


async def burn(request: Mapping[str, Any]) -> Items:
    """Never ends, and never lets go of the interpreter's lock for longer than it must."""
    _note(request)
    sys.setswitchinterval(1000)
    while True:
        sorted(range(200_000, 0, -1), key=str)
    yield


async def burn_briefly(request: Mapping[str, Any]) -> Items:
    """Burns what Linux ends after one second of processor time, by the signal that ends a page's trial after five."""
    resource.setrlimit(resource.RLIMIT_CPU, (1, 2))
    async for item in burn(request):
        yield item


async def wait(request: Mapping[str, Any]) -> Items:
    """Never ends, and takes no processor time."""
    _note(request)
    threading.Event().wait()
    yield


async def hoard(request: Mapping[str, Any]) -> Items:
    """Takes all memory that it gets, in small pieces."""
    kept = []
    while True:
        kept.append("x" * 10_000 + str(len(kept)))
    yield


async def hoard_at_once(request: Mapping[str, Any]) -> Items:
    yield len(bytearray(4 * 2**30))


async def hoard_and_close(request: Mapping[str, Any]) -> Items:
    """Has no memory left for the thread in which it would end."""
    kept: list[bytes] = []
    try:
        while True:
            kept.append(bytes(2**20))
    finally:
        await asyncio.to_thread(len, kept)
    yield


async def recurse(request: Mapping[str, Any]) -> Items:
    def again(depth: int) -> int:
        return again(depth + 1) + 1

    yield again(0)


async def crash(request: Mapping[str, Any]) -> Items:
    yield ctypes.string_at(0)


async def gush(request: Mapping[str, Any]) -> Items:
    """Answers without an end."""
    while True:
        yield "x" * 100_000


async def tell_secrets(request: Mapping[str, Any]) -> Items:
    """Prints a document, and fails with one in the message."""
    os.write(2, b"secret of a document on stderr")
    raise ValueError("secret of a document in a message")
    yield


async def refuse(request: Mapping[str, Any]) -> Items:
    """Meets a document for which a rule cannot be computed."""
    raise MqlError("A string is too much for the pattern.", ("select[0]",))
    yield


async def tell_environment(request: Mapping[str, Any]) -> Items:
    yield dict(os.environ)
    yield sys.argv


async def echo(request: Mapping[str, Any]) -> Items:
    await asyncio.sleep(request.get("seconds", 0))
    yield request["value"]


def _note(request: Mapping[str, Any]) -> None:
    """The process id, for a test to find; whole at once."""
    if "note" in request:
        path = Path(request["note"])
        path.with_suffix(".new").write_text(str(os.getpid()))
        path.with_suffix(".new").rename(path)


if __name__ == "__main__":
    trials = [burn, wait, hoard, hoard_at_once, hoard_and_close, recurse, crash, gush, tell_secrets, refuse]
    trials += [tell_environment, echo]
    # As which it is asked for by admin.
    as_admin_asks = dict.fromkeys(("page of a preview", "rules", "query"), burn_briefly)
    stand_ins = as_admin_asks if os.environ.get("BURN_INSTEAD") else {}
    main({trial.__name__: trial for trial in trials} | stand_ins)
