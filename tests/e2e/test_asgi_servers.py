"""What holds under Daphne's own commands, which is all that holds under `serve`, and under uvicorn."""

import json
import os
import signal
import socket
import ssl
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect, unix_connect

from changesource.protocol.closing import going_away
from changesource.service import NOT_OUR_SERVER
from tests.e2e.asgi_servers import APPLICATION, AsgiServer, DaphneCommand, DaphneRunserver, Uvicorn
from tests.e2e.certificates import self_signed
from tests.e2e.conftest import Deploy
from tests.e2e.deployment import Deployment, check_protocol
from tests.e2e.raw_websocket import RawConnection
from tests.e2e.test_stalled_reader import open_without_reading
from tests.e2e.workload import SCHEMA, fill
from tests.embedded.waiting import wait_until
from zerosources.embedded.ports import free_port
from zerosources.embedded.project import STREAM_PATH
from zerosources.embedded.server import HOST
from zerosources.embedded.servers import MongoServer, PostgresServer

pytestmark = pytest.mark.timeout(300)

BIG_DOCUMENTS = 800
BIG_TEXT = "x" * 100_000
MAX_GROWTH_BYTES = 40 * 2**20
STALL_SECONDS = 4

Start = Callable[..., AsgiServer]


@pytest.fixture(scope="module")
def deployment(run_dir: Path, mongo_server: MongoServer, postgres_server: PostgresServer) -> Iterator[Deployment]:
    """With 80 MB to send."""
    with ExitStack() as stack:
        deployment = Deployment(stack, run_dir / "asgi-servers", mongo_server, postgres_server, None, SCHEMA)
        for start in range(0, BIG_DOCUMENTS, 100):
            deployment.database.notes.insert_many([{"_id": f"big-{start + i}", "text": BIG_TEXT} for i in range(100)])
        yield deployment


@pytest.fixture
def start(deployment: Deployment, request: pytest.FixtureRequest) -> Iterator[Start]:
    """Starts a server of a class, with options and settings from the environment."""
    with ExitStack() as stack:

        def start(kind: type[AsgiServer], *options: str, **environment: str) -> AsgiServer:
            folder = deployment.folder / f"{kind.name}-{request.node.originalname}"
            server = kind(folder, environment={**deployment.environment, **environment})
            if options:
                server.options = options  # type: ignore[attr-defined]
            stack.callback(server.stop)
            server.start()
            return server

        yield start


@pytest.fixture(scope="module")
def version(deployment: Deployment) -> str:
    """The watermark of a replica that any server may go on with."""
    with DaphneCommand(deployment.folder / "first", environment=deployment.environment) as server:
        return first_snapshot(deployment, server)


EACH = pytest.mark.parametrize("kind", [DaphneCommand, Uvicorn], ids=lambda kind: kind.name)
DAPHNES = pytest.mark.parametrize("kind", [DaphneCommand, DaphneRunserver], ids=lambda kind: kind.name)


@EACH
def test_a_zero_cache(deploy: Deploy, kind: type[AsgiServer]) -> None:
    """Its replica becomes what MongoDB holds, goes on when the server was told to end and is started again, and is told
    nothing that is not in the protocol. Watching begins before anybody asks for anything, and the log says once what is
    missing."""
    deployment = deploy(SCHEMA)
    fill(deployment.database, 100)
    server = kind(deployment.folder / kind.name, environment=deployment.environment)
    deployment.stack.callback(server.stop)
    server.start()
    wait_until(lambda: "leads as" in server.log_path.read_text())
    proxy = deployment.proxy(server)
    zero_cache = deployment.zero_cache(proxy)
    deployment.wait_until_equal(zero_cache)
    deployment.database.notes.insert_one({"_id": "later", "n": 1})
    deployment.wait_until_equal(zero_cache)
    server.restart()
    deployment.database.notes.insert_one({"_id": "later still", "n": 2})
    deployment.wait_until_equal(zero_cache)
    check_protocol(proxy)
    log = server.log_path.read_text()
    assert "Traceback" not in log
    assert log.count(NOT_OUR_SERVER) == (2 if kind is Uvicorn else 0)


@EACH
def test_a_reader_that_stalls(deployment: Deployment, start: Start, kind: type[AsgiServer]) -> None:
    """Costs bounded memory, and after its time its session has ended, and its client may open another. Daphne's connection
    ends as well."""
    server = start(kind, STALL_SECONDS=str(STALL_SECONDS), STREAMS_PER_CLIENT="1")
    version = first_snapshot(deployment, server)  # what one takes is not counted
    process = psutil.Process(server.pid)
    most = before = process.memory_info().rss
    stalled = open_without_reading(url(deployment, server))

    def is_dropped() -> bool:
        nonlocal most
        most = max(most, process.memory_info().rss)
        return "dropped" in server.log_path.read_text()

    wait_until(is_dropped, 60)
    assert most - before < MAX_GROWTH_BYTES, f"the server grew by {(most - before) / 2**20:.1f} MB"
    if kind is DaphneCommand:
        wait_until(lambda: not open_connections(process, server.port))

    def takes_another() -> bool:
        deployment.database.orders.insert_one({})
        with connect(url(deployment, server, version), max_size=None) as stream:
            try:
                return bool(json.loads(stream.recv(timeout=20))[0] == "begin")
            except ConnectionClosed:
                return False

    wait_until(takes_another)
    stalled.close()
    assert "Traceback" not in server.log_path.read_text()


@DAPHNES
def test_told_to_end(deployment: Deployment, start: Start, version: str, kind: type[AsgiServer]) -> None:
    """Streams end with 1012 and its reason, and the process with 0, whatever it is told meanwhile; messages were compressed,
    and nothing was missing."""
    server = start(kind)
    with connect(url(deployment, server, version), max_size=None) as stream:
        assert is_compressed(stream)
        for _ in range(2):
            os.kill(server.pid, signal.SIGTERM)
        assert how_it_closes(stream) == (1012, going_away().reason)
    wait_until(lambda: not server.is_running)
    assert server.exit_status == 0
    log = server.log_path.read_text()
    assert "Traceback" not in log
    assert NOT_OUR_SERVER not in log
    assert deployment.token not in log


def test_uvicorn_is_told_to_end(deployment: Deployment, start: Start, version: str) -> None:
    """It closes streams itself, and then ends the service in order."""
    server = start(Uvicorn)
    with connect(url(deployment, server, version), max_size=None) as stream:
        assert is_compressed(stream)
        os.kill(server.pid, signal.SIGTERM)
        assert how_it_closes(stream)[0] == 1012
    wait_until(lambda: not server.is_running)
    log = server.log_path.read_text()
    assert "Traceback" not in log
    assert "gives up" in log or "Application shutdown complete" in log


@EACH
def test_a_message_that_is_too_long(deployment: Deployment, start: Start, version: str, kind: type[AsgiServer]) -> None:
    """Is refused with the limit in the reason."""
    server = start(kind, MAX_UPSTREAM_BYTES="2000")
    with connect(url(deployment, server, version), max_size=None) as stream:
        stream.send(json.dumps(["status", {"tag": "commit"}, {"watermark": "x" * 3_000}]))
        code, reason = how_it_closes(stream)
    assert code == 1009
    assert "2000" in reason


@EACH
def test_a_client_that_goes_away(deployment: Deployment, start: Start, kind: type[AsgiServer]) -> None:
    """In the middle of a snapshot: no fault of ours."""
    server = start(kind)
    for _ in range(3):
        with RawConnection(server.port) as connection:
            stream = open_without_reading(url(deployment, server))
            stream.recv(1_000_000)
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
            stream.close()
            connection.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert b"200 OK" in connection.everything()
    log = server.log_path.read_text()
    assert "a stream failed" not in log
    assert "Traceback" not in log


def test_every_place_that_daphne_can_listen_at(deployment: Deployment, version: str) -> None:
    """A TCP port, a Unix socket, an inherited socket and TLS, by Daphne's own options: at each the stream is ours. Options
    that the settings decide are named."""
    folder = deployment.folder / "places"
    certificate = self_signed(folder, HOST)
    tls_port = free_port()
    unix = folder / "daphne.socket"
    with socket.create_server((HOST, 0)) as inherited:
        os.set_inheritable(inherited.fileno(), True)
        command = [sys.executable, "-m", "daphne", "-b", HOST, "-p", str(free_port()), "-u", str(unix)]
        command += [
            "-e",
            f"ssl:port={tls_port}:interface={HOST}:{certificate.endpoint}",
            "--fd",
            str(inherited.fileno()),
        ]
        command += ["--websocket-max-message-size", "10", "--proxy-headers", APPLICATION]
        log_path = folder / "log"
        environment = {**deployment.environment, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
        with log_path.open("w") as log, ExitStack() as stack:
            server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, pass_fds=[inherited.fileno()])
            stack.callback(server.wait)
            stack.callback(server.kill)
            wait_until(unix.exists, 60)
            query = query_of(deployment, version)
            context = ssl.create_default_context(cafile=certificate.certificate)
            connections = [
                unix_connect(str(unix), f"ws://localhost{query}", max_size=None),
                connect(f"ws://{HOST}:{inherited.getsockname()[1]}{query}", max_size=None),
                connect(f"wss://{HOST}:{tls_port}{query}", ssl=context, max_size=None),
            ]
            streams = [stack.enter_context(connection) for connection in connections]
            deployment.database.orders.insert_one({})
            for stream in streams:
                assert is_compressed(stream)
                assert json.loads(stream.recv(timeout=30))[0] == "begin"
            server.send_signal(signal.SIGTERM)
            assert [how_it_closes(stream)[0] for stream in streams] == [1012] * 3
            assert server.wait(timeout=15) == 0
    text = log_path.read_text()
    assert "Traceback" not in text
    assert "no effect here" in text
    assert "websocket_max_message_size" in text
    assert "proxy_forwarded_address_header" in text


def test_a_port_that_is_taken(deployment: Deployment) -> None:
    """Daphne's command says so, and ends with 1."""
    with socket.create_server((HOST, 0)) as taken:
        command = [sys.executable, "-m", "daphne", "-b", HOST, "-p", str(taken.getsockname()[1]), APPLICATION]
        environment = {**deployment.environment, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "could not listen" in done.stderr


def open_connections(process: psutil.Process, port: int) -> int:
    return sum(
        1 for one in process.net_connections() if one.laddr.port == port and one.status == psutil.CONN_ESTABLISHED
    )


def query_of(deployment: Deployment, version: str = "") -> str:
    resume = f"&lastWatermark={version}&replicaVersion={version}" if version else ""
    return f"{STREAM_PATH}?token={deployment.token}&appID={deployment.app_id}&shardNum=0{resume}"


def url(deployment: Deployment, server: AsgiServer, version: str = "") -> str:
    return f"ws://{HOST}:{server.port}{query_of(deployment, version)}"


def first_snapshot(deployment: Deployment, server: AsgiServer) -> str:
    """Its watermark."""
    with connect(url(deployment, server), max_size=None, max_queue=None, open_timeout=30) as connection:
        version = str(json.loads(connection.recv())[2]["commitWatermark"])
        last = deque(connection, maxlen=1)
    assert json.loads(last[0])[0] == "commit"
    return version


def is_compressed(stream: ClientConnection) -> bool:
    assert stream.response is not None
    return "permessage-deflate" in stream.response.headers.get("Sec-WebSocket-Extensions", "")


def how_it_closes(stream: ClientConnection) -> tuple[int, str]:
    """Whatever comes before that."""
    with pytest.raises(ConnectionClosed) as closed:
        read_to_the_end(stream)
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code, closed.value.rcvd.reason


def read_to_the_end(stream: ClientConnection) -> None:
    while True:
        stream.recv(timeout=30)
