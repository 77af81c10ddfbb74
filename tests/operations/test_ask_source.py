"""ask_source.py: questions to a source, in a time that a person waits."""

import asyncio
from typing import Any

import pytest

from changesource.errors import SourceUnreachable, UnknownSource
from changesource.mongo.source import Database
from changesource.operations import ask_source as ask_source_module
from changesource.operations.ask_source import ask_source
from zerosources.embedded.servers import MongoServer


async def name_of(database: Database) -> str:
    await database.command("ping")
    return database.name


def test_the_answer_is_returned(mongo_server: MongoServer, settings: Any) -> None:
    """The answer is what the question gives for the source's database."""
    settings.CHANGESOURCE_SOURCES = {"eu": mongo_server.uri("shop")}
    assert ask_source("eu", name_of) == "shop"


async def test_a_running_loop_is_no_obstacle(mongo_server: MongoServer, settings: Any) -> None:
    """Also where an event loop runs in the thread."""
    settings.CHANGESOURCE_SOURCES = {"eu": mongo_server.uri("shop")}
    assert ask_source("eu", name_of) == "shop"


def test_an_unknown_source_is_refused(settings: Any) -> None:
    """A source without a URI is said."""
    settings.CHANGESOURCE_SOURCES = {}
    with pytest.raises(UnknownSource, match="MONGODB_URI_EU"):
        ask_source("eu", name_of)


def test_a_slow_source_is_unreachable(
    mongo_server: MongoServer, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No answer in time is a source that cannot be reached."""
    settings.CHANGESOURCE_SOURCES = {"eu": mongo_server.uri("shop")}
    monkeypatch.setattr(ask_source_module, "ASK_SECONDS", 0.05)

    async def wait_for_ever(_: Database) -> None:
        await asyncio.Event().wait()

    with pytest.raises(SourceUnreachable, match="did not answer"):
        ask_source("eu", wait_for_ever)
