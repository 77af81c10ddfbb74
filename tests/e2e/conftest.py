"""What each end-to-end test starts with."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.deployment import Deployment
from zerosources.embedded.servers import MongoServer, PostgresServer, ValkeyServer

Deploy = Callable[..., Deployment]


@pytest.fixture
def deploy(
    run_dir: Path,
    mongo_server: MongoServer,
    postgres_server: PostgresServer,
    valkey_server: ValkeyServer,
    request: pytest.FixtureRequest,
) -> Iterator[Deploy]:
    """Makes a `Deployment` with the given schema, mappings and permissions, `log="memory"` or `"redis"`, and more settings
    from the environment."""
    with ExitStack() as stack:

        def make(
            schema: dict[str, Any],
            *,
            mappings: dict[str, Any] | None = None,
            permissions: dict[str, Any] | None = None,
            log: str = "memory",
            **environment: str,
        ) -> Deployment:
            folder = run_dir / request.node.name.replace("/", "-")
            valkey = valkey_server if log == "redis" else None
            return Deployment(
                stack, folder, mongo_server, postgres_server, valkey, schema, mappings, permissions, **environment
            )

        yield make


@pytest.fixture(params=["memory", "redis"])
def log(request: pytest.FixtureRequest) -> str:
    """Which change log the deployment uses."""
    return str(request.param)
