"""Fail points of the embedded MongoDB."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from pymongo import AsyncMongoClient

from changesource.mongo.source import APP_NAME
from tests.given_mongodb import FAIL_POINTS, skip_if_given
from zerosources.embedded.servers import MongoServer


@asynccontextmanager
async def fail_commands(
    server: MongoServer,
    *commands: str,
    times: int | None = None,
    skip: int | None = None,
    labels: Sequence[str] = (),
    **data: Any,
) -> AsyncIterator[None]:
    """Makes commands of the product's clients fail: always, or the next `times`, or all but the
    next `skip`. `data` says how: `errorCode`, `closeConnection` … Other clients are spared, because
    the server is shared."""
    arguments = {"failCommands": list(commands), "appName": APP_NAME, **data}
    if labels:
        arguments["errorLabels"] = list(labels)
    mode: Any = "alwaysOn"
    if times is not None:
        mode = {"times": times}
    elif skip is not None:
        mode = {"skip": skip}
    skip_if_given(FAIL_POINTS)
    # A client of its own: after some errors, the product's client avoids the server for seconds.
    async with AsyncMongoClient[dict[str, Any]](server.uri()) as client:
        await client.admin.command({"configureFailPoint": "failCommand", "mode": mode, "data": arguments})
        try:
            yield
        finally:
            await client.admin.command({"configureFailPoint": "failCommand", "mode": "off"})
