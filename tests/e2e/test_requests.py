"""Where a token may stand, and what is said when there is no way on. `hostile_inputs.py` has what is refused."""

import base64
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from websockets.sync.client import ClientConnection, connect

from changesource.protocol.watermarks import Position
from tests.e2e.deployment import Deployment
from tests.e2e.workload import SCHEMA, fill
from zerosources.embedded.project import ServeCommand
from zerosources.embedded.servers import MongoServer, PostgresServer


@dataclass(frozen=True)
class Endpoint:
    """A server with one client, and a replica that it knows."""

    deployment: Deployment
    server: ServeCommand
    replica_version: str

    def url(self, *, token: str | None = None, **parameters: Any) -> str:
        query = {
            "token": self.deployment.token if token is None else token,
            "appID": self.deployment.app_id,
            "shardNum": 0,
        }
        query |= parameters
        pairs = [f"{name}={quote(str(value))}" for name, value in query.items() if value != ""]
        return f"ws://127.0.0.1:{self.server.port}/changes/v0/stream?{'&'.join(pairs)}"

    def connect(self, url: str, **options: Any) -> ClientConnection:
        return connect(url, max_size=None, max_queue=None, open_timeout=30, **options)


@pytest.fixture(scope="module")
def endpoint(run_dir: Path, mongo_server: MongoServer, postgres_server: PostgresServer) -> Iterator[Endpoint]:
    """One server for all tests here; none of them changes it."""
    with ExitStack() as stack:
        deployment = Deployment(stack, run_dir / "requests", mongo_server, postgres_server, None, SCHEMA)
        fill(deployment.database, 5)
        server = deployment.serve()
        endpoint = Endpoint(deployment, server, "")
        with endpoint.connect(endpoint.url()) as connection:
            replica_version = json.loads(connection.recv())[2]["commitWatermark"]
            assert json.loads(list(connection)[-1])[0] == "commit"
        yield Endpoint(deployment, server, replica_version)
        log = server.log_path.read_text()
        assert "Traceback" not in log
        assert deployment.token not in log


def test_the_token_may_come_as_basic_credentials(endpoint: Endpoint) -> None:
    """As zero-cache sends the user info of its upstream URL."""
    credentials = base64.b64encode(f"zero-cache:{endpoint.deployment.token}".encode()).decode()
    with endpoint.connect(
        endpoint.url(token=""), additional_headers={"Authorization": f"Basic {credentials}"}
    ) as connection:
        assert json.loads(connection.recv())[0] == "begin"


def test_the_token_may_come_as_a_bearer_token(endpoint: Endpoint) -> None:
    """As clients that set headers themselves send it."""
    headers = {"Authorization": f"Bearer {endpoint.deployment.token}"}
    with endpoint.connect(endpoint.url(token=""), additional_headers=headers) as connection:
        assert json.loads(connection.recv())[0] == "begin"


def watermark_in(seconds: float) -> str:
    return Position(int(time.time() + seconds) << 32).watermark


def test_no_way_on_is_said_once(endpoint: Endpoint) -> None:
    """`reset-required` with the reason, once, and the connection stays open for zero-cache to end."""
    version = endpoint.replica_version
    cases = {
        "another replica": {"lastWatermark": watermark_in(-1), "replicaVersion": watermark_in(-100)},
        "another shard": {"shardNum": 7, "lastWatermark": version, "replicaVersion": version},
        "the future": {"lastWatermark": watermark_in(3600), "replicaVersion": version},
    }

    def first_message(case: str) -> Any:
        with endpoint.connect(endpoint.url(**cases[case])) as connection:
            message = json.loads(connection.recv(timeout=10))
            with pytest.raises(TimeoutError):
                connection.recv(timeout=1.5)
        return message

    with ThreadPoolExecutor() as threads:
        messages = dict(zip(cases, threads.map(first_message, cases), strict=True))
    for case, message in messages.items():
        assert (message[0], message[1]["tag"]) == ("control", "reset-required"), case
