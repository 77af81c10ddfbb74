"""What a publish will find at its source: how many documents it reads, and which pre-images it switches on."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from pymongo.errors import PyMongoError

from changesource.errors import SourceUnreachable
from changesource.mongo.faults import explain
from changesource.mongo.pre_images import collections_without_pre_images
from changesource.mongo.source import Database
from changesource.streaming.source_calls import ask_source

ESTIMATE_SECONDS = 3.0
"""Somebody waits for a page that can be shown without."""


@dataclass(frozen=True, slots=True)
class PublishEstimate:
    """`documents`: collection → how many it holds, by MongoDB's own count. `missing_pre_images`: collections."""

    documents: Mapping[str, int]
    missing_pre_images: tuple[str, ...]

    @property
    def total(self) -> int:
        return sum(self.documents.values())


def estimate_publish(source: str, loaded: Collection[str], with_pre_images: Collection[str]) -> PublishEstimate:
    """For a publish that reads the collections `loaded` and needs the pre-images of `with_pre_images`.

    Raises `UnknownSource`, `SourceUnusable`, and `SourceUnreachable` after `ESTIMATE_SECONDS` at the latest.
    """
    return ask_source(source, lambda database: _estimate(database, loaded, with_pre_images))


async def _estimate(database: Database, loaded: Collection[str], with_pre_images: Collection[str]) -> PublishEstimate:
    try:
        async with asyncio.timeout(ESTIMATE_SECONDS):
            missing = await collections_without_pre_images(database, with_pre_images) if with_pre_images else []
            documents = {name: await database[name].estimated_document_count() for name in loaded}
    except TimeoutError as error:
        raise SourceUnreachable(f"MongoDB did not answer within {ESTIMATE_SECONDS:.0f} seconds.") from error
    except PyMongoError as error:
        raise explain(error) from error
    return PublishEstimate(documents, tuple(missing))
