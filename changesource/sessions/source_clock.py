"""Waiting for the clock of a source that has taken the place of another."""

from __future__ import annotations

import asyncio
import logging
import time

from changesource.errors import InvalidWatermark
from changesource.models import queries
from changesource.mongo.source import Database, current_cluster_time
from changesource.protocol.watermarks import Position

logger = logging.getLogger(__name__)

CLOCK_BEHIND_SECONDS = 60.0
"""How long a snapshot waits for the clock. A restored backup may be hours behind, and it does not
catch up."""
POLL_SECONDS = 0.2


async def wait_for_the_clock(database: Database, app_id: str, client_id: int, shard_num: int) -> None:
    """Returns when the source's clock has reached what the client's replicas of the shard have had.

    To zero-cache the larger of two watermarks is the newer one, and its own clients load everything
    again when they meet one that is older than theirs. Raises `SourceUnreachable`,
    `SourceUnusable`, `django.db.Error`.
    """
    try:
        watermark = await queries.replicas.newest_watermark_of_client(app_id, client_id, shard_num)
        newest = Position.from_watermark(watermark)
    except InvalidWatermark:
        return
    deadline = time.monotonic() + CLOCK_BEHIND_SECONDS
    while (now := await current_cluster_time(database)) < newest.cluster_time:
        if time.monotonic() > deadline:
            logger.error(
                "%s: the clock of the source is %d seconds behind that of a former one; the clients of zero-cache "
                "will load everything again",
                f"{app_id}/{shard_num}",
                newest.seconds - (now >> 32),
            )
            return
        await asyncio.sleep(POLL_SECONDS)
