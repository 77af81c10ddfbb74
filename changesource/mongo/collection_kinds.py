"""Kinds of collections: views and time series collections have no change stream."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from pymongo.errors import PyMongoError

from changesource.mongo.faults import as_source_error
from changesource.mongo.source import Database

KINDS_WITHOUT_STREAM: Mapping[str, str] = {"view": "a view", "timeseries": "a time series collection"}
"""MongoDB's name of the kind → the words for people."""


async def collection_kinds(database: Database, names: Collection[str]) -> dict[str, str]:
    """Returns collection → kind, as MongoDB names it: "collection", "view", "timeseries".

    The result has those of `names` that exist and that the user may see. A user without the right
    `listCollections` sees the collections that it may read. Raises `SourceUnreachable` and
    `SourceUnusable`. The caller limits the time.
    """
    wanted = {"name": {"$in": sorted(names)}}
    try:
        listed = await database.list_collections(filter=wanted, nameOnly=True, authorizedCollections=True)
        return {found["name"]: found.get("type", "collection") async for found in listed}
    except PyMongoError as error:
        raise as_source_error(error) from error
