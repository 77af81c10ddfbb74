"""Pre-images: MongoDB keeps what documents were before each change, for the collections that ask for it.

MongoDB: manual/changeStreams/#change-streams-with-document-pre--and-post-images. The one option records post-images too.
"""

from __future__ import annotations

import logging
from collections.abc import Collection

from pymongo.errors import CollectionInvalid, OperationFailure, PyMongoError

from changesource.errors import SourceUnusable
from changesource.mongo.faults import explain
from changesource.mongo.source import Database

logger = logging.getLogger(__name__)

OPTION = "changeStreamPreAndPostImages"
UNAUTHORIZED = 13


async def collections_without_pre_images(database: Database, collections: Collection[str]) -> list[str]:
    """Those of `collections` that record none, in order; also those that do not exist. Raises `SourceUnreachable`,
    `SourceUnusable`."""
    recording = set()
    try:
        async for description in await database.list_collections():
            if description.get("options", {}).get(OPTION, {}).get("enabled"):
                recording.add(description["name"])
    except PyMongoError as error:
        raise explain(error) from error
    return [name for name in collections if name not in recording]


async def enable_pre_images(database: Database, collections: Collection[str]) -> None:
    """Switches them on where they are off, and creates collections that do not exist. Raises `SourceUnusable` with the
    commands to run where that is not allowed, or `SourceUnreachable`."""
    missing = await collections_without_pre_images(database, collections)
    try:
        for name in missing:
            await _enable(database, name)
            logger.info("pre-images of %s switched on", name, extra={"action": "pre-images-on"})
    except OperationFailure as error:
        commands = " ".join(map(enabling_command, missing))
        reason = "may not be switched on" if error.code == UNAUTHORIZED else "could not be switched on"
        raise SourceUnusable(
            f"Tables of {', '.join(missing)} need pre-images, which {reason} with this user. Run, as one who may: {commands}"
        ) from error
    except PyMongoError as error:
        raise explain(error) from error


def enabling_command(collection: str) -> str:
    """What a person runs in mongosh."""
    return f'db.runCommand({{collMod: "{collection}", {OPTION}: {{enabled: true}}}});'


async def _enable(database: Database, name: str) -> None:
    try:
        await database.create_collection(name, changeStreamPreAndPostImages={"enabled": True})
    except CollectionInvalid:
        await database.command({"collMod": name, OPTION: {"enabled": True}})
