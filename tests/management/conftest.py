from collections.abc import Iterator
from typing import Any

import pytest

from tests.simulation.sources import PlainDatabase, default_source
from zerosources.embedded.servers import MongoServer


@pytest.fixture
def source_database(mongo_server: MongoServer, settings: Any) -> Iterator[PlainDatabase]:
    """A database of its own, which is the default source."""
    with default_source(mongo_server, settings) as found:
        yield found
