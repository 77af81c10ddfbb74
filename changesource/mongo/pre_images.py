"""Pre-images: MongoDB records what documents were before each change, in collections that have this
option.

MongoDB: manual/changeStreams/#change-streams-with-document-pre--and-post-images. The same option
records post-images too.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence

from bson.timestamp import Timestamp
from pymongo.errors import CollectionInvalid, OperationFailure, PyMongoError

from changesource.errors import SourceUnusable
from changesource.mongo.faults import NAMESPACE_NOT_FOUND, UNAUTHORIZED, as_source_error
from changesource.mongo.source import Database, cluster_time_of

logger = logging.getLogger(__name__)

OPTION = "changeStreamPreAndPostImages"
RESTORE_MS = 1000
"""How long `restore_pre_images` may wait for the collection, and make others wait."""


async def collections_without_pre_images(database: Database, collections: Collection[str]) -> list[str]:
    """Returns those of `collections` that record no pre-images or do not exist, in order. Raises
    `SourceUnreachable` and `SourceUnusable`."""
    recording = set()
    try:
        async for description in await database.list_collections():
            if description.get("options", {}).get(OPTION, {}).get("enabled"):
                recording.add(description["name"])
    except PyMongoError as error:
        raise as_source_error(error) from error
    return [name for name in collections if name not in recording]


async def enable_pre_images(database: Database, collections: Collection[str]) -> None:
    """Switches pre-images on where they are off, and creates collections that do not exist. Raises
    `SourceUnreachable`, or `SourceUnusable`, with the commands that a person has to run if this
    user may not."""
    missing = await collections_without_pre_images(database, collections)
    try:
        for name in missing:
            await _enable(database, name)
            logger.info("pre-images of %s switched on", name, extra={"action": "pre-images-on"})
    except OperationFailure as error:
        raise _refusal(missing, error) from error
    except PyMongoError as error:
        raise as_source_error(error) from error


async def restore_pre_images(database: Database, name: str) -> int | None:
    """Switches pre-images on again for a collection that has lost the option, for instance because
    it was dropped and created again. Returns the cluster time from which on changes have
    pre-images; None if there is no such collection. Raises what `enable_pre_images` raises.

    Does not create a collection that does not exist: its name must stay free for another one to be
    renamed to it.
    """
    try:
        reply = await database.command({"collMod": name, OPTION: {"enabled": True}, "maxTimeMS": RESTORE_MS})
    except OperationFailure as error:
        if error.code == NAMESPACE_NOT_FOUND:
            return None
        raise _refusal([name], error) from error
    except PyMongoError as error:
        raise as_source_error(error) from error
    moment = reply.get("operationTime")
    logger.info("pre-images of %s switched on again", name, extra={"action": "pre-images-on"})
    return cluster_time_of(moment) if isinstance(moment, Timestamp) else 0


def enabling_command(collection: str) -> str:
    """Returns the command that a person runs in mongosh."""
    return f'db.runCommand({{collMod: "{collection}", {OPTION}: {{enabled: true}}}});'


def _refusal(missing: Sequence[str], error: OperationFailure) -> SourceUnusable:
    reason = "may not be switched on" if error.code == UNAUTHORIZED else "could not be switched on"
    return SourceUnusable(
        f"Tables of {', '.join(missing)} need pre-images, which {reason} by this user. As a user with the right, run: "
        + " ".join(map(enabling_command, missing))
    )


async def _enable(database: Database, name: str) -> None:
    try:
        await database.create_collection(name, changeStreamPreAndPostImages={"enabled": True})
    except CollectionInvalid:
        await database.command({"collMod": name, OPTION: {"enabled": True}})
