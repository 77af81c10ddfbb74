"""The projection of `find`, for tests that play the source: always applied, and without any field
that is not requested."""

from collections.abc import Collection
from typing import Any

from changesource.mongo.read_fields import Projection, projection_for


async def choose_projection(database: Any, collection: str, fields: Collection[str]) -> Projection | None:
    return projection_for(fields)


def projected(document: dict[str, Any], projection: Projection | None) -> dict[str, Any]:
    """Returns a copy with the requested fields."""
    return {name: value for name, value in document.items() if projection is None or name in projection}
