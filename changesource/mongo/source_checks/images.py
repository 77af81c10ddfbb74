"""Checks which guarantee the rows of each published collection have, and whether pre-images are
recorded where needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pymongo.errors import OperationFailure, PyMongoError

from changesource.mongo.collection_kinds import KINDS_WITHOUT_STREAM
from changesource.mongo.faults import UNAUTHORIZED, as_source_error
from changesource.mongo.pre_images import OPTION, enabling_command
from changesource.mongo.source import Database
from changesource.mongo.source_checks.results import CheckResult, PublishedCollection


async def check_images(database: Database, collections: Sequence[PublishedCollection]) -> list[CheckResult]:
    """Returns one result for each collection. Raises the errors of `as_source_error`, unless the
    user may not list collections."""
    if not collections:
        text = "Nothing is published from this source, so no collection was checked."
        return [CheckResult("images", "ok", text)]
    try:
        descriptions = {description["name"]: description async for description in await database.list_collections()}
    except OperationFailure as error:
        if error.code != UNAUTHORIZED:
            raise as_source_error(error) from error
        text = "Unknown: this user may not list the collections of the database."
        return [CheckResult("images", "unknown", text, "Grant listCollections: see above.")]
    except PyMongoError as error:
        raise as_source_error(error) from error
    return [_judge(collection, descriptions.get(collection.name)) for collection in collections]


def _judge(collection: PublishedCollection, description: Mapping[str, Any] | None) -> CheckResult:
    name = f"images of {collection.app_id}: {collection.name}"
    tables = f"{'Table' if len(collection.tables) == 1 else 'Tables'} {', '.join(collection.tables)}"
    kind = description.get("type", "collection") if description else "collection"
    if kind in KINDS_WITHOUT_STREAM:
        return CheckResult(
            name,
            "error",
            f"{tables}: {collection.name} is {KINDS_WITHOUT_STREAM[kind]}. It has no change stream, so no changes arrive.",
            "Publish the collection behind it instead, with a mapping.",
        )
    is_recorded = bool(description and description.get("options", {}).get(OPTION, {}).get("enabled"))
    values: dict[str, str | bool] = {
        "guarantee": "exact" if is_recorded else "latest state",
        "is_recorded": is_recorded,
        "is_needed": bool(collection.unwinding),
    }
    if is_recorded:
        text = f"{tables}: exact. Pre- and post-images are recorded, so rows are those of each commit."
        return CheckResult(name, "ok", text, values=values)
    if collection.unwinding:
        return CheckResult(
            name,
            "error",
            f"{collection.name} records no pre-images, which tell what rows there were before a change. So these tables are "
            f"loaded again with each change: {', '.join(collection.unwinding)}.",
            f"Run {enabling_command(collection.name)}",
            values,
        )
    if description is None:
        text = f"{tables}: empty, because the collection does not exist yet."
        return CheckResult(name, "warning", text, "Check the name, or create the collection.", values)
    text = f"{tables}: latest state. No post-images are recorded, so updated documents are looked up."
    return CheckResult(name, "ok", text, f"For exact rows: {enabling_command(collection.name)}", values)
