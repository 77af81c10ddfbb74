"""pre_images.py: which collections record them, and switching them on."""

import asyncio
from typing import Any

import pytest
from pymongo.errors import PyMongoError

from changesource.errors import SourceUnreachable, SourceUnusable
from changesource.mongo.pre_images import (
    collections_without_pre_images,
    enable_pre_images,
    enabling_command,
    restore_pre_images,
)
from changesource.mongo.source import Database, current_cluster_time
from tests.mongo.failing import fail_commands
from tests.mongo.opening import AskedDatabase
from zerosources.embedded.servers import MongoServer

ON = {"changeStreamPreAndPostImages": {"enabled": True}}


async def test_what_records(database: Database) -> None:
    """Only a collection with the option switched on records them; one that does not exist does not."""
    await database.create_collection("on", **ON)
    await database.create_collection("off", changeStreamPreAndPostImages={"enabled": False})
    await database.create_collection("plain")
    names = ["plain", "on", "missing", "off"]
    assert await collections_without_pre_images(database, names) == ["plain", "missing", "off"]


async def test_switching_on(database: Database) -> None:
    """What exists is changed and keeps its documents, what does not is created, what records already stays."""
    await database.create_collection("on", **ON)
    await database.plain.insert_one({"_id": 1})
    await enable_pre_images(database, ["on", "plain", "missing"])
    assert await collections_without_pre_images(database, ["on", "plain", "missing"]) == []
    assert await database.plain.count_documents({}) == 1
    await enable_pre_images(database, ["on", "plain", "missing"])


async def test_images_come(database: Database) -> None:
    """An update that follows has its pre-image."""
    await database.city.insert_one({"_id": 1, "name": "a"})
    await enable_pre_images(database, ["city"])
    async with await database.city.watch(full_document_before_change="required") as stream:
        await database.city.update_one({"_id": 1}, {"$set": {"name": "b"}})
        event = await asyncio.wait_for(stream.next(), 20)
    assert event["fullDocumentBeforeChange"] == {"_id": 1, "name": "a"}


async def test_nothing_to_do(mongo_server: MongoServer, database: Database) -> None:
    """No right to change collections is needed where there is nothing to change."""
    await database.create_collection("on", **ON)
    async with fail_commands(mongo_server, "collMod", "create", errorCode=13):
        await enable_pre_images(database, ["on"])


@pytest.mark.parametrize(("code", "reason"), [(13, "may not be switched on"), (20, "could not be switched on")])
async def test_refusal(mongo_server: MongoServer, database: Database, code: int, reason: str) -> None:
    """The message names the collections and the commands for whoever may run them."""
    await database.create_collection("city")
    async with fail_commands(mongo_server, "collMod", errorCode=code):
        with pytest.raises(SourceUnusable, match=reason) as refused:
            await enable_pre_images(database, ["city"])
    assert enabling_command("city") in str(refused.value)
    assert await collections_without_pre_images(database, ["city"]) == ["city"]


@pytest.mark.parametrize("command", ["listCollections", "collMod"])
async def test_interruption(mongo_server: MongoServer, database: Database, command: str) -> None:
    """A server that goes away is unreachable."""
    await database.create_collection("city")
    async with fail_commands(mongo_server, command, closeConnection=True):
        with pytest.raises(SourceUnreachable):
            await enable_pre_images(database, ["city"])


async def test_restoring(database: Database) -> None:
    """A collection that was dropped and made anew records them again, from a cluster time on that is said; others stay as
    they are."""
    await enable_pre_images(database, ["city", "other"])
    for name in ("city", "other"):
        await database[name].drop()
        await database[name].insert_one({"_id": 1})
    before = await current_cluster_time(database)
    since = await restore_pre_images(database, "city")
    assert before < since <= await current_cluster_time(database)
    assert await collections_without_pre_images(database, ["city", "other"]) == ["other"]


async def test_restoring_does_not_wait_for_long(database: Database) -> None:
    """collMod waits for operations under way on the collection, and later ones wait behind it: so it is given up soon."""
    await enable_pre_images(database, ["city"])
    asked: Any = AskedDatabase(database)
    await restore_pre_images(asked, "city")
    assert [command["maxTimeMS"] for command in asked.commands] == [1000]


async def test_restoring_what_does_not_exist(database: Database) -> None:
    """Its name stays free for another collection to be renamed to."""
    await database.new.insert_one({"_id": 1})
    assert await restore_pre_images(database, "city") is None
    await database.new.rename("city")


@pytest.mark.parametrize("code", [13, 50])
async def test_restoring_is_refused(mongo_server: MongoServer, database: Database, code: int) -> None:
    """Also where somebody holds the collection for long."""
    await database.create_collection("city")
    async with fail_commands(mongo_server, "collMod", errorCode=code):
        with pytest.raises(SourceUnusable) as refused:
            await restore_pre_images(database, "city")
    assert enabling_command("city") in str(refused.value)


async def test_restoring_is_interrupted(mongo_server: MongoServer, database: Database) -> None:
    """A server that goes away is unreachable."""
    await database.create_collection("city")
    async with fail_commands(mongo_server, "collMod", closeConnection=True):
        with pytest.raises(SourceUnreachable):
            await restore_pre_images(database, "city")


async def test_command_for_people(database: Database) -> None:
    """What a person is told to run is a command that MongoDB takes."""
    assert enabling_command("city") == (
        'db.runCommand({collMod: "city", changeStreamPreAndPostImages: {enabled: true}});'
    )
    with pytest.raises(PyMongoError):
        await database.command({"collMod": "city", **ON})
    await database.create_collection("city")
    await database.command({"collMod": "city", **ON})
    assert await collections_without_pre_images(database, ["city"]) == []
