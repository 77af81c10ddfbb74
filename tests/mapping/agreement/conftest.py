"""A collection of the embedded MongoDB for the whole folder."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.collection import Collection

from changesource.mapping.values import CODEC_OPTIONS
from zerosources.embedded.servers import MongoServer

OPLOG_ENTRIES = 1_000


@pytest.fixture(scope="session")
def collection(run_dir: Path) -> Iterator[Collection[dict[str, Any]]]:
    """Decodes as the product does. The server is this folder's own, as tens of thousands of writes fill its oplog."""
    with (
        MongoServer(run_dir / "mongodb-agreement", oplog_max_entries=OPLOG_ENTRIES) as server,
        MongoClient[dict[str, Any]](server.url) as client,
    ):
        yield client.get_database("agreement", codec_options=CODEC_OPTIONS)["documents"]
