"""Pre-images: MongoDB keeps what documents were before each change, for the collections that ask for it.

MongoDB: manual/changeStreams/#change-streams-with-document-pre--and-post-images. The one option records post-images too.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence

from bson.timestamp import Timestamp
from pymongo.errors import CollectionInvalid, OperationFailure, PyMongoError

from changesource.errors import SourceUnusable
from changesource.mongo.faults import explain
from changesource.mongo.source import Database, cluster_time_of

logger = logging.getLogger(__name__)

OPTION = "changeStreamPreAndPostImages"
UNAUTHORIZED = 13
NAMESPACE_NOT_FOUND = 26
RESTORE_MS = 1000
"""How long `restore_pre_images` may wait for the collection, behind which others would have to wait as well."""


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
        raise _refusal(missing, error) from error
    except PyMongoError as error:
        raise explain(error) from error


async def restore_pre_images(database: Database, name: str) -> int | None:
    """Switches them on again for a collection that has lost them, as one does that is dropped and made anew. Gives the
    cluster time from which on changes have theirs, None if there is no such collection. Raises as `enable_pre_images` does.

    A collection that does not exist is not made: who renames another one to its name must find it free.
    """
    try:
        reply = await database.command({"collMod": name, OPTION: {"enabled": True}, "maxTimeMS": RESTORE_MS})
    except OperationFailure as error:
        if error.code == NAMESPACE_NOT_FOUND:
            return None
        raise _refusal([name], error) from error
    except PyMongoError as error:
        raise explain(error) from error
    moment = reply.get("operationTime")
    logger.info("pre-images of %s switched on again", name, extra={"action": "pre-images-on"})
    return cluster_time_of(moment) if isinstance(moment, Timestamp) else 0


def enabling_command(collection: str) -> str:
    """What a person runs in mongosh."""
    return f'db.runCommand({{collMod: "{collection}", {OPTION}: {{enabled: true}}}});'


def _refusal(missing: Sequence[str], error: OperationFailure) -> SourceUnusable:
    reason = "may not be switched on" if error.code == UNAUTHORIZED else "could not be switched on"
    return SourceUnusable(
        f"Tables of {', '.join(missing)} need pre-images, which {reason} with this user. Run, as one who may: "
        + " ".join(map(enabling_command, missing))
    )


async def _enable(database: Database, name: str) -> None:
    try:
        await database.create_collection(name, changeStreamPreAndPostImages={"enabled": True})
    except CollectionInvalid:
        await database.command({"collMod": name, OPTION: {"enabled": True}})
