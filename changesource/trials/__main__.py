"""`python -m changesource.trials PARENT` runs one trial. `changesource.trials.process` starts it.

The request, with its limits, is JSON on standard input. The answer is a line of JSON for each item,
and a last line, `{"is_cut"}` or `{"error", "message"}`.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any

from changesource.trials.limits import TrialLimits, keep_to

Trial = Callable[[Mapping[str, Any]], AsyncGenerator[Any, None]]

ASK_SECONDS = 10.0
"""A trial that takes longer has mostly waited for MongoDB, as its processor time is limited to half
of this."""


def main(more_trials: Mapping[str, Trial] | None = None) -> None:
    request = json.load(sys.stdin.buffer)
    limits = TrialLimits(**request["limits"])
    keep_to(limits, int(sys.argv[1]))
    _write(_answer(request, limits, more_trials or {}))
    # Nothing is left to do, and there may be no memory for an orderly exit.
    os._exit(0)


def _answer(request: Mapping[str, Any], limits: TrialLimits, more_trials: Mapping[str, Trial]) -> list[bytes]:
    try:
        return _try(request, limits, more_trials)
    except Exception as error:  # noqa: BLE001 (any error becomes the answer)
        return [_line({"error": "memory", "message": ""} if _is_about_memory(error) else _described(error))]


def _try(request: Mapping[str, Any], limits: TrialLimits, more_trials: Mapping[str, Trial]) -> list[bytes]:
    # Imported here, because the limits have to be in force before anything can go wrong.
    import asyncio

    from changesource.errors import SourceUnreachable
    from changesource.trials.preview import complete_previews, page_previews
    from changesource.trials.queries import tried_query
    from changesource.trials.rules import tried_rows

    trials: Mapping[str, Trial] = {
        "complete preview": complete_previews,
        "page of a preview": page_previews,
        "rules": tried_rows,
        "query": tried_query,
        **more_trials,
    }

    async def answer() -> list[bytes]:
        async with asyncio.timeout(ASK_SECONDS):
            return await _collect(trials[request["trial"]](request), limits, cuts=request["cuts"])

    try:
        return asyncio.run(answer())
    except TimeoutError as error:
        raise SourceUnreachable.after(ASK_SECONDS) from error


def _is_about_memory(error: BaseException | None) -> bool:
    """Whether memory ran out. Where it did, closing a connection, or the event loop, may fail as well: it needs a thread."""
    while error is not None:
        if isinstance(error, MemoryError) or str(error) == "can't start new thread":
            return True
        error = error.__context__
    return False


async def _collect(items: AsyncGenerator[Any, None], limits: TrialLimits, *, cuts: bool) -> list[bytes]:
    lines: list[bytes] = []
    size = 0
    async with aclosing(items):
        async for item in items:
            line = _line(item)
            size += len(line)
            if size > limits.output_bytes:
                return [*lines, _line({"is_cut": True})] if cuts else [_line({"error": "output", "message": ""})]
            lines.append(line)
    return [*lines, _line({"is_cut": False})]


def _described(error: Exception) -> dict[str, str]:
    """The last line for `error`. An unexpected error gives only its type and place: its message
    could hold part of a document."""
    from changesource.errors import ChangeSourceError, MappingRefused
    from changesource.mql import MqlError

    if isinstance(error, MqlError):
        return {"error": MappingRefused.__name__, "message": error.reason}
    if isinstance(error, ChangeSourceError):
        return {"error": type(error).__name__, "message": str(error.args[0])}
    place = traceback.extract_tb(error.__traceback__)[-1]
    return {"error": "failed", "message": f"{type(error).__name__} at {place.filename}:{place.lineno}"}


def _line(value: Any) -> bytes:
    return json.dumps(value).encode()


def _write(lines: list[bytes]) -> None:
    sys.stdout.buffer.write(b"\n".join(lines))
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
