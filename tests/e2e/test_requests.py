"""What the server answers to requests that zero-cache would not make, and to clients that misbehave."""

import base64
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
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
        # Where frames were not read, the close is not either: there is nothing to wait for.
        return connect(url, max_size=None, open_timeout=30, close_timeout=1, **options)


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


def closing_of(connection: ClientConnection) -> tuple[int | None, str | None]:
    with pytest.raises(ConnectionClosed):
        connection.recv(timeout=20)
    return connection.close_code, connection.close_reason


@pytest.mark.parametrize("token", ["", "wrong", "x" * 3000, "ä\u0000", "' OR 1=1 --"])
def test_without_the_right_token_the_handshake_is_refused_slowly(endpoint: Endpoint, token: str) -> None:
    """403 after at least a second: zero-cache comes back every 25 ms."""
    started = time.monotonic()
    with pytest.raises(InvalidStatus) as refused, endpoint.connect(endpoint.url(token=token)):
        pass
    assert refused.value.response.status_code == 403
    assert time.monotonic() - started >= 1


@pytest.mark.parametrize(
    "header", ["Basic", "Basic !!!", "Basic " + base64.b64encode(b"a:b").decode(), "Bearer x", "x" * 4000]
)
def test_bad_credentials_in_the_header_are_refused(endpoint: Endpoint, header: str) -> None:
    """403, whatever the header holds."""
    with (
        pytest.raises(InvalidStatus) as refused,
        endpoint.connect(endpoint.url(token=""), additional_headers={"Authorization": header}),
    ):
        pass
    assert refused.value.response.status_code == 403


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


@pytest.mark.parametrize(
    ("parameters", "code", "reason"),
    [
        ({"appID": "no_such_app"}, 4403, "not published"),
        ({"appID": ""}, 4400, "appID"),
        ({"appID": "UPPER"}, 4400, "appID"),
        ({"appID": "../../etc"}, 4400, "appID"),
        ({"shardNum": "x"}, 4400, "shardNum"),
        ({"shardNum": "-1"}, 4400, "shardNum"),
        ({"shardNum": ""}, 4400, "shardNum"),
        ({"shardNum": "9" * 30}, 4400, "shardNum"),
        ({"lastWatermark": "1"}, 4400, "together"),
        ({"lastWatermark": "not a watermark", "replicaVersion": "00"}, 4400, "LexiVersion"),
        ({"lastWatermark": "00", "replicaVersion": "00"}, 4400, "not a position"),
        ({"lastWatermark": "ZZ", "replicaVersion": "0a"}, 4400, "LexiVersion"),
        ({"lastWatermark": "0a", "replicaVersion": "0b"}, 4400, "before replicaVersion"),
    ],
)
def test_a_bad_request_is_closed_with_its_reason(
    endpoint: Endpoint, parameters: dict[str, str], code: int, reason: str
) -> None:
    """Each with its code, a reason that names the parameter, and not before a second has passed."""
    started = time.monotonic()
    with endpoint.connect(endpoint.url(**parameters)) as connection:
        found_code, found_reason = closing_of(connection)
    assert found_code == code
    assert reason in (found_reason or "")
    assert time.monotonic() - started >= 1


def test_a_query_that_is_not_utf8_is_closed(endpoint: Endpoint) -> None:
    """Percent-encoded bytes that are no text are a bad request."""
    credentials = base64.b64encode(endpoint.deployment.token.encode()).decode()
    url = endpoint.url(token="") + "&publications=%ff%fe"
    with endpoint.connect(url, additional_headers={"Authorization": f"Basic {credentials}"}) as connection:
        assert closing_of(connection)[0] == 4400


def watermark_in(seconds: float) -> str:
    return Position(int(time.time() + seconds) << 32).watermark


@pytest.mark.parametrize("case", ["another replica", "another shard", "the future"])
def test_no_way_on_is_said_once(endpoint: Endpoint, case: str) -> None:
    """`reset-required` with the reason, once, and the connection stays open for zero-cache to end."""
    version = endpoint.replica_version
    parameters = {
        "another replica": {"lastWatermark": watermark_in(-1), "replicaVersion": watermark_in(-100)},
        "another shard": {"shardNum": 7, "lastWatermark": version, "replicaVersion": version},
        "the future": {"lastWatermark": watermark_in(3600), "replicaVersion": version},
    }[case]
    with endpoint.connect(endpoint.url(**parameters)) as connection:
        message = json.loads(connection.recv(timeout=10))
        assert message[0] == "control"
        assert message[1]["tag"] == "reset-required"
        with pytest.raises(TimeoutError):
            connection.recv(timeout=1.5)


def read_to_the_end(connection: ClientConnection) -> None:
    while connection.close_code is None:
        with suppress(ConnectionClosed):
            connection.recv(timeout=20)


def resumed(endpoint: Endpoint) -> ClientConnection:
    version = endpoint.replica_version
    return endpoint.connect(endpoint.url(lastWatermark=version, replicaVersion=version))


@pytest.mark.parametrize(
    "message",
    [
        "nonsense",
        "{}",
        "[]",
        '["status"]',
        '["status",{},{"watermark":1}]',
        '["status",{},{"watermark":"ZZZ"}]',
        "[" * 5000,
    ],
)
def test_nonsense_from_zero_cache_closes_its_stream_only(endpoint: Endpoint, message: str) -> None:
    """4400 with a reason; another stream of the same server is not disturbed."""
    with resumed(endpoint) as other, resumed(endpoint) as connection:
        connection.send(message)
        read_to_the_end(connection)
        assert connection.close_code == 4400
        other.send(json.dumps(["something", "new"]))
        endpoint.deployment.database.notes.insert_one({"n": 1})
        assert json.loads(other.recv(timeout=10))[0] == "begin"


def test_a_huge_message_from_zero_cache_is_refused(endpoint: Endpoint) -> None:
    """The connection is dropped before all of it has come."""
    with resumed(endpoint) as connection:
        connection.send("x" * 200_000)
        read_to_the_end(connection)
        assert connection.close_code in (1006, 1009)
