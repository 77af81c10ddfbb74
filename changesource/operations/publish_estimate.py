"""What a publish will find at its source: which collections there are, how many documents it reads,
and which pre-images it switches on."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from pymongo.errors import PyMongoError

from changesource.errors import ChangeSourceError, SourceUnreachable, SourceUnusable
from changesource.mongo.collection_kinds import collection_kinds
from changesource.mongo.faults import as_source_error
from changesource.mongo.pre_images import collections_without_pre_images
from changesource.mongo.source import Database
from changesource.operations.ask_source import ask_source
from changesource.publishing.collection_problems import CollectionProblems
from changesource.publishing.release import Release
from changesource.tables.definition import AppDefinition

ESTIMATE_SECONDS = 3.0
"""A person is waiting for a page, which can be shown without the estimate."""


@dataclass(frozen=True, slots=True)
class PublishEstimate:
    """`documents`: collection → how many documents it holds, as MongoDB estimates.
    `missing_pre_images`: collections."""

    documents: Mapping[str, int]
    missing_pre_images: tuple[str, ...]
    collections: CollectionProblems


def estimate_publish(draft: Release, loaded: Collection[str]) -> PublishEstimate:
    """The estimate for a publish of `draft`, which has no problems, that reads the collections
    `loaded`.

    Raises `UnknownSource`, `SourceUnusable`, and `SourceUnreachable` after at most
    `ESTIMATE_SECONDS`.
    """
    with_pre_images = sorted(draft.pre_images.collections)
    return ask_source(
        draft.definition.source, lambda database: _estimate(database, draft.definition, loaded, with_pre_images)
    )


def find_collection_problems(draft: Release) -> CollectionProblems:
    """What the source says about the collections of `draft`. It is a warning if the source does not
    answer within `ESTIMATE_SECONDS`. Raises `UnknownSource`."""
    definition = draft.definition
    return ask_source(definition.source, lambda database: _collection_problems(database, definition))


async def _estimate(
    database: Database, draft: AppDefinition, loaded: Collection[str], with_pre_images: Collection[str]
) -> PublishEstimate:
    try:
        async with asyncio.timeout(ESTIMATE_SECONDS):
            problems = await _judge_collections(database, draft)
            missing = await collections_without_pre_images(database, with_pre_images) if with_pre_images else []
            documents = {name: await database[name].estimated_document_count() for name in loaded}
    except TimeoutError as error:
        raise SourceUnreachable.after(ESTIMATE_SECONDS) from error
    except PyMongoError as error:
        raise as_source_error(error) from error
    return PublishEstimate(documents, tuple(missing), problems)


async def _collection_problems(database: Database, draft: AppDefinition) -> CollectionProblems:
    try:
        async with asyncio.timeout(ESTIMATE_SECONDS):
            return await _judge_collections(database, draft)
    except TimeoutError:
        return CollectionProblems.unknown(SourceUnreachable.after(ESTIMATE_SECONDS))
    except ChangeSourceError as error:
        return CollectionProblems.unknown(error)


async def _judge_collections(database: Database, draft: AppDefinition) -> CollectionProblems:
    """Raises `SourceUnreachable`. Without the right to list collections, the answer is a warning
    that they are unknown."""
    try:
        kinds = await collection_kinds(database, {table.collection for table in draft.tables})
    except SourceUnusable as error:
        return CollectionProblems.unknown(error)
    return CollectionProblems.of(draft, kinds)
