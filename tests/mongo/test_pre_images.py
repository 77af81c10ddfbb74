"""pre_images.py: which collections record pre-images, and switching them on."""

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


async def test_only_collections_with_the_option_record_pre_images(database: Database) -> None:
    """One that does not exist does not."""
    await database.create_collection("on", **ON)
    await database.create_collection("off", changeStreamPreAndPostImages={"enabled": False})
    await database.create_collection("plain")
    names = ["plain", "on", "missing", "off"]
    assert await collections_without_pre_images(database, names) == ["plain", "missing", "off"]


async def test_enabling_keeps_documents_and_creates_missing_collections(database: Database) -> None:
    await database.create_collection("on", **ON)
    await database.plain.insert_one({"_id": 1})
    await enable_pre_images(database, ["on", "plain", "missing"])
    assert await collections_without_pre_images(database, ["on", "plain", "missing"]) == []
    assert await database.plain.count_documents({}) == 1
    await enable_pre_images(database, ["on", "plain", "missing"])


async def test_updates_have_pre_images_once_they_are_enabled(database: Database) -> None:
    await database.city.insert_one({"_id": 1, "name": "a"})
    await enable_pre_images(database, ["city"])
    async with await database.city.watch(full_document_before_change="required") as stream:
        await database.city.update_one({"_id": 1}, {"$set": {"name": "b"}})
        event = await asyncio.wait_for(stream.next(), 20)
    assert event["fullDocumentBeforeChange"] == {"_id": 1, "name": "a"}


async def test_enabling_needs_no_right_if_nothing_is_missing(mongo_server: MongoServer, database: Database) -> None:
    await database.create_collection("on", **ON)
    async with fail_commands(mongo_server, "collMod", "create", errorCode=13):
        await enable_pre_images(database, ["on"])


@pytest.mark.parametrize(("code", "reason"), [(13, "may not be switched on"), (20, "could not be switched on")])
async def test_a_refusal_names_the_collections_and_the_commands(
    mongo_server: MongoServer, database: Database, code: int, reason: str
) -> None:
    await database.create_collection("city")
    async with fail_commands(mongo_server, "collMod", errorCode=code):
        with pytest.raises(SourceUnusable, match=reason) as refused:
            await enable_pre_images(database, ["city"])
    assert enabling_command("city") in str(refused.value)
    assert await collections_without_pre_images(database, ["city"]) == ["city"]


@pytest.mark.parametrize("command", ["listCollections", "collMod"])
async def test_an_interruption_while_enabling_is_unreachable(
    mongo_server: MongoServer, database: Database, command: str
) -> None:
    await database.create_collection("city")
    async with fail_commands(mongo_server, command, closeConnection=True):
        with pytest.raises(SourceUnreachable):
            await enable_pre_images(database, ["city"])


async def test_a_recreated_collection_gets_its_option_back(database: Database) -> None:
    """The cluster time from which on events have pre-images is returned. Other collections stay as
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
    """collMod waits for running operations on the collection, and later ones wait for it. So it is
    given up soon."""
    await enable_pre_images(database, ["city"])
    asked: Any = AskedDatabase(database)
    await restore_pre_images(asked, "city")
    assert [command["maxTimeMS"] for command in asked.commands] == [1000]


async def test_restoring_does_not_create_a_collection(database: Database) -> None:
    """Its name stays free for another collection."""
    await database.new.insert_one({"_id": 1})
    assert await restore_pre_images(database, "city") is None
    await database.new.rename("city")


@pytest.mark.parametrize("code", [13, 50])
async def test_a_refused_restoring_is_raised(mongo_server: MongoServer, database: Database, code: int) -> None:
    """Even if the collection was only held for too long."""
    await database.create_collection("city")
    async with fail_commands(mongo_server, "collMod", errorCode=code):
        with pytest.raises(SourceUnusable) as refused:
            await restore_pre_images(database, "city")
    assert enabling_command("city") in str(refused.value)


async def test_an_interruption_while_restoring_is_unreachable(mongo_server: MongoServer, database: Database) -> None:
    await database.create_collection("city")
    async with fail_commands(mongo_server, "collMod", closeConnection=True):
        with pytest.raises(SourceUnreachable):
            await restore_pre_images(database, "city")


async def test_mongodb_accepts_the_command_for_people(database: Database) -> None:
    assert enabling_command("city") == (
        'db.runCommand({collMod: "city", changeStreamPreAndPostImages: {enabled: true}});'
    )
    with pytest.raises(PyMongoError):
        await database.command({"collMod": "city", **ON})
    await database.create_collection("city")
    await database.command({"collMod": "city", **ON})
    assert await collections_without_pre_images(database, ["city"]) == []
