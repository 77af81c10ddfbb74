"""The fixtures of the simulation, for the tests in this folder."""

import gc
from collections.abc import Iterator

import pytest

from tests.simulation.fixtures import any_source, app, database, redis_logs, source, start

__all__ = ["any_source", "app", "database", "redis_logs", "source", "start"]


@pytest.fixture(autouse=True)
def frozen() -> Iterator[None]:
    """A service that ends has Python examine all objects again. After the test, what was collected is left out of this once
    more, as in `pytest_collection`."""
    yield
    gc.freeze()
