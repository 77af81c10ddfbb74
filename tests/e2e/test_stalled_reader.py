"""A client that connects and never reads costs bounded memory and delays nobody."""

import json
import socket
import time
from urllib.parse import urlsplit

import psutil
import pytest
from websockets.sync.client import connect

from tests.e2e.conftest import Deploy
from tests.e2e.workload import SCHEMA
from tests.embedded.waiting import wait_until

pytestmark = pytest.mark.timeout(300)

DOCUMENTS = 2_000
DOCUMENT_BYTES = 100_000
MAX_GROWTH_BYTES = 50 * 2**20


def test_a_stalled_reader_during_a_large_snapshot(deploy: Deploy) -> None:
    """200 MB to send, nothing read: the server grows by less than 50 MB, another stream still gets changes at once, and the
    stalled connection is dropped after its time."""
    deployment = deploy(SCHEMA, STALL_SECONDS="20")
    text = "x" * DOCUMENT_BYTES
    for start in range(0, DOCUMENTS, 100):
        deployment.database.notes.insert_many([{"_id": f"big-{start + i}", "text": text} for i in range(100)])
    server = deployment.start()
    url = f"ws://127.0.0.1:{server.port}/changes/v0/stream?token={deployment.token}&appID={deployment.app_id}&shardNum="

    with connect(url + "1", max_size=None, max_queue=1, compression=None) as reader:
        version = json.loads(reader.recv())[2]["commitWatermark"]
        received = sum(len(frame) for frame in reader)
    assert received > DOCUMENTS * DOCUMENT_BYTES
    process = psutil.Process(server.pid)
    resume = f"{url}1&lastWatermark={version}&replicaVersion={version}"

    with connect(resume, max_size=None, compression=None) as other:
        before = process.memory_info().rss
        stalled = open_without_reading(url + "2")
        most = before
        delays = []
        for i in range(30):
            sent_at = time.monotonic()
            deployment.database.orders.insert_one({"_id": f"ping-{i}"})
            while (other_frame := json.loads(other.recv(timeout=10)))[0] != "commit":
                pass
            delays.append(time.monotonic() - sent_at)
            other.send(json.dumps(["status", other_frame[1], other_frame[2]]))
            most = max(most, process.memory_info().rss)
            wait_until(lambda due=sent_at + 0.2: time.monotonic() > due)
        wait_until(lambda: "dropped" in server.log_path.read_text(), 40)
        most = max(most, process.memory_info().rss)
        stalled.close()

    assert most - before < MAX_GROWTH_BYTES, f"the server grew by {(most - before) / 2**20:.1f} MB"
    assert max(delays) < 1.0, f"the slowest of 30 changes took {max(delays):.2f} s"


def open_without_reading(url: str) -> socket.socket:
    """A WebSocket handshake by hand, with a small receive buffer, after which nothing is read."""
    parts = urlsplit(url)
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect((parts.hostname, parts.port))
    request = (
        f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    connection.sendall(request.encode())
    assert connection.recv(12) == b"HTTP/1.1 101"
    return connection
