"""A MongoDB for the tests that ask it what a rule finds."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from zerosources.embedded.servers import MongoServer


@pytest.fixture(scope="session")
def mongo_server(run_dir: Path) -> Iterator[MongoServer]:
    with MongoServer(run_dir / "mongodb-rules", test_commands=False) as server:
        yield server
