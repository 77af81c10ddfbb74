"""A collection of the embedded MongoDB for the whole folder."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.collection import Collection

from changesource.tables.values import CODEC_OPTIONS
from tests.given_mongodb import GivenMongo
from zerosources.embedded.servers import MongoServer

OPLOG_ENTRIES = 1_000


@pytest.fixture(scope="session")
def collection(run_dir: Path, given: GivenMongo | None) -> Iterator[Collection[dict[str, Any]]]:
    """A collection that decodes as the product does. The server belongs to this folder: the tests fill its oplog."""
    with ExitStack() as stack:
        server: MongoServer | GivenMongo = given or stack.enter_context(
            MongoServer(run_dir / "mongodb-agreement", oplog_max_entries=OPLOG_ENTRIES)
        )
        client = stack.enter_context(MongoClient[dict[str, Any]](server.uri("agreement")))
        yield client.get_default_database(codec_options=CODEC_OPTIONS)["documents"]
