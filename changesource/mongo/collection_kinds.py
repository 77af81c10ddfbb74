"""What stands behind the names of collections: views and time series have no change stream."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from pymongo.errors import PyMongoError

from changesource.mongo.faults import explain
from changesource.mongo.source import Database

KINDS_WITHOUT_STREAM: Mapping[str, str] = {"view": "a view", "timeseries": "a time series collection"}
"""MongoDB's word for the kind → a word for people."""


async def collection_kinds(database: Database, names: Collection[str]) -> dict[str, str]:
    """Collection → kind, in MongoDB's words: "collection", "view", "timeseries". It holds those of `names` that exist and
    that the user may see: a user without the right `listCollections` sees the collections that it may read.

    Raises `SourceUnreachable` and `SourceUnusable`. The caller limits the time.
    """
    wanted = {"name": {"$in": sorted(names)}}
    try:
        listed = await database.list_collections(filter=wanted, nameOnly=True, authorizedCollections=True)
        return {found["name"]: found.get("type", "collection") async for found in listed}
    except PyMongoError as error:
        raise explain(error) from error
