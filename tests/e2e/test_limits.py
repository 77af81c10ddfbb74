"""What one client or one address may take of a server, and that others do not notice who takes too much."""

import http.client
import json
import logging
import re
import socket
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPMessage
from pathlib import Path
from threading import Event, Thread
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import psutil
import psycopg
import pytest
import redis
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.e2e.conftest import Deploy
from tests.e2e.deployment import Deployment
from tests.e2e.raw_websocket import DEFLATE, RSV1, compressed, frame, handshake
from tests.e2e.workload import SCHEMA, fill
from tests.embedded.django_database import make_postgresql
from tests.embedded.waiting import wait_until
from zerosources.embedded.project import ServeCommand
from zerosources.embedded.servers import MongoServer, PostgresServer

pytestmark = pytest.mark.timeout(120)

MAX_GROWTH_BYTES = 30 * 2**20
logger = logging.getLogger(__name__)

HANDSHAKE_SECONDS = 2


@dataclass(frozen=True)
class Site:
    """A server, and a replica that resumes there while something else happens."""

    deployment: Deployment
    server: ServeCommand
    replica_version: str

    def url(self, **parameters: Any) -> str:
        query = {"token": self.deployment.token, "appID": self.deployment.app_id, "shardNum": 0} | parameters
        pairs = "&".join(f"{name}={value}" for name, value in query.items())
        return f"ws://127.0.0.1:{self.server.port}/changes/v0/stream?{pairs}"

    @property
    def resume_url(self) -> str:
        return self.url(lastWatermark=self.replica_version, replicaVersion=self.replica_version)

    def resume(self, **options: Any) -> ClientConnection:
        return connect(self.resume_url, max_size=None, max_queue=None, open_timeout=30, **options)

    def opened_by_hand(self, headers: bytes = b"") -> socket.socket:
        """A resumed stream of which nothing is read but the beginning of the answer."""
        connection = self.socket()
        parts = urlsplit(self.resume_url)
        connection.sendall(handshake(f"{parts.path}?{parts.query}", headers))
        assert connection.recv(12) == b"HTTP/1.1 101"
        return connection

    def socket(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.server.port), timeout=20)

    @property
    def process(self) -> psutil.Process:
        return psutil.Process(self.server.pid)


@pytest.fixture(scope="module")
def deployment(run_dir: Path, mongo_server: MongoServer, postgres_server: PostgresServer) -> Iterator[Deployment]:
    with ExitStack() as stack:
        deployment = Deployment(stack, run_dir / "limits", mongo_server, postgres_server, None, SCHEMA)
        fill(deployment.database, 5)
        yield deployment


@pytest.fixture(scope="module")
def open_site(deployment: Deployment) -> Callable[..., Site]:
    """Starts a server with settings from the environment, and makes a snapshot there."""

    def open_site(name: str, **environment: str) -> Site:
        server = ServeCommand(deployment.folder / name, environment={**deployment.environment, **environment})
        deployment.stack.callback(server.stop)
        server.start()
        with connect(Site(deployment, server, "").url(), max_size=None, max_queue=None) as connection:
            version = json.loads(connection.recv())[2]["commitWatermark"]
            assert json.loads(list(connection)[-1])[0] == "commit"
        return Site(deployment, server, version)

    return open_site


@pytest.fixture(scope="module")
def site(open_site: Callable[..., Site]) -> Iterator[Site]:
    """With the default limits, but for the time that a handshake may take."""
    site = open_site("defaults", HANDSHAKE_SECONDS=str(HANDSHAKE_SECONDS))
    yield site
    assert "Traceback" not in site.server.log_path.read_text()


class Other:
    """A stream that somebody else reads meanwhile."""

    def __init__(self, site: Site, connection: ClientConnection) -> None:
        self._site = site
        self._connection = connection

    def delay(self) -> float:
        """Seconds from a change in MongoDB to its commit in the stream."""
        key = f"other-{uuid.uuid4().hex}"
        started = time.monotonic()
        self._site.deployment.database.orders.insert_one({"_id": key})
        is_found = False
        while True:
            text = str(self._connection.recv(timeout=20))
            is_found = is_found or key in text
            if is_found and json.loads(text)[0] == "commit":
                return time.monotonic() - started


@contextmanager
def other_stream(site: Site) -> Iterator[Other]:
    with site.resume() as connection:
        other = Other(site, connection)
        other.delay()
        yield other


def closing_of(connection: ClientConnection) -> tuple[int | None, str | None]:
    """What the connection ends with, whatever comes before that."""
    with suppress(ConnectionClosed):
        while True:
            connection.recv(timeout=20)
    return connection.close_code, connection.close_reason


@contextmanager
def flat_memory(site: Site) -> Iterator[None]:
    before = site.process.memory_info().rss
    yield
    grown = site.process.memory_info().rss - before
    assert grown < MAX_GROWTH_BYTES, f"the server grew by {grown / 2**20:.1f} MB"


@pytest.mark.parametrize(
    ("opcode", "payload"), [(1, b'["x",1]'), (9, b"p" * 100), (10, b"")], ids=["messages", "pings", "pongs"]
)
def test_a_flood_of_small_messages_delays_nobody(site: Site, opcode: int, payload: bytes) -> None:
    """They are read so many a second; what is sent beyond that waits at the sender, and so do answers that nobody reads."""
    flood = frame(opcode, payload) * 2_000

    def send_until_closed(flooder: socket.socket) -> None:
        with suppress(OSError):
            while True:
                flooder.sendall(flood)

    with other_stream(site) as other, site.opened_by_hand() as flooder, flat_memory(site):
        sender = Thread(target=send_until_closed, args=(flooder,))
        sender.start()
        try:
            delays = [other.delay() for _ in range(30)]
        finally:
            flooder.shutdown(socket.SHUT_RDWR)
            sender.join()
    assert max(delays) < 0.3, f"the slowest of 30 changes took {max(delays):.2f} s"


def test_a_flood_of_messages_that_inflate_delays_nobody(site: Site) -> None:
    """Each is within the limit, and 100 bytes are 60 KB when they are decompressed."""
    message = compressed(b'["x","' + b"0" * 60_000 + b'"]')
    flood = frame(1, message, reserved=RSV1) * 2_000
    with other_stream(site) as other, site.opened_by_hand(DEFLATE) as flooder, flat_memory(site):
        flooder.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                flooder.send(flood)
        delays = [other.delay() for _ in range(30)]
    assert max(delays) < 0.3, f"the slowest of 30 changes took {max(delays):.2f} s"


def request_with(*lines: bytes) -> bytes:
    return b"\r\n".join([b"GET /healthz HTTP/1.1", b"Host: localhost", *lines, b"", b""])


def test_what_comes_before_the_handshake_is_answered_is_not_kept(site: Site) -> None:
    """The connection ends once it is more than a little."""
    with flat_memory(site), site.socket() as connection:
        connection.sendall(handshake("/changes/v0/stream?token=wrong"))
        sent = 0
        with suppress(OSError):
            while sent < 2**30:
                sent += connection.send(b"x" * 4096)
    assert sent < 2**25  # the sockets' own buffers


def read_all(connection: socket.socket) -> bytes:
    """Until the server ends the connection."""
    received = b""
    with suppress(ConnectionError):
        while chunk := connection.recv(65_536):
            received += chunk
    return received


@pytest.mark.parametrize("is_slow", [True, False], ids=["a byte now and then", "nothing"])
def test_a_header_that_takes_too_long_is_refused(site: Site, is_slow: bool) -> None:
    """408 after HANDSHAKE_SECONDS, however busy the sender looks."""
    started = time.monotonic()
    request = iter(handshake("/changes/v0/stream"))
    with site.socket() as connection:
        connection.settimeout(0.1)
        answer = b""
        while not answer and time.monotonic() - started < 10:
            if is_slow:
                connection.send(bytes([next(request)]))
            with suppress(TimeoutError):
                answer = connection.recv(100)
    assert answer.startswith(b"HTTP/1.1 408")
    assert HANDSHAKE_SECONDS - 0.5 < time.monotonic() - started < HANDSHAKE_SECONDS + 2


def test_a_second_request_on_a_connection_has_its_own_time(site: Site) -> None:
    """The time does not run between requests, and runs again from the next one's first line."""
    with site.socket() as connection:
        connection.sendall(request_with())
        assert connection.recv(12) == b"HTTP/1.1 200"
        started = time.monotonic()
        connection.sendall(b"GET /healthz HTTP/1.1\r\n")
        assert b"HTTP/1.1 408" in read_all(connection)
        assert time.monotonic() - started > HANDSHAKE_SECONDS - 0.5


def test_a_later_header_that_comes_slowly_is_refused(site: Site) -> None:
    """From its first byte, not from its first line on."""
    with site.socket() as connection:
        connection.sendall(request_with())
        assert connection.recv(12) == b"HTTP/1.1 200"
        started = time.monotonic()
        connection.sendall(b"G")
        assert b"HTTP/1.1 408" in read_all(connection)
        assert HANDSHAKE_SECONDS - 0.5 < time.monotonic() - started < HANDSHAKE_SECONDS + 2


LOG_IN = b"POST /admin/login/ HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize(
    ("headers", "part"),
    [
        (b"Content-Length: 1000000\r\n\r\n", b"x"),
        (b"Content-Length: 1000000\r\n\r\n", b""),
        (b"Content-Length: 1000000\r\nExpect: 100-continue\r\n\r\n", b""),
        (b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    ],
    ids=["a byte now and then", "nothing", "nothing, though asked for", "a chunk now and then"],
)
def test_a_body_that_comes_too_slowly_is_refused(site: Site, headers: bytes, part: bytes) -> None:
    """408 after HANDSHAKE_SECONDS and what its bytes are worth, however busy the sender looks."""
    started = time.monotonic()
    with site.socket() as connection:
        connection.sendall(LOG_IN + headers)
        connection.settimeout(0.1)
        answer = b""
        while b"HTTP/1.1 408" not in answer and time.monotonic() - started < 10:
            with suppress(OSError):
                connection.send(part)
            with suppress(TimeoutError):
                answer += connection.recv(100)
    assert b"HTTP/1.1 408" in answer
    assert HANDSHAKE_SECONDS - 0.5 < time.monotonic() - started < HANDSHAKE_SECONDS + 2


def test_a_body_that_comes_fast_enough_is_taken(site: Site) -> None:
    """Over a longer time than its beginning may take."""
    with site.socket() as connection:
        connection.sendall(LOG_IN + b"Connection: close\r\nContent-Length: 60000\r\n\r\n")
        for _ in range(30):
            connection.sendall(b"x" * 2_000)
            time.sleep(0.1)  # what is measured, not a synchronisation
        assert read_all(connection).startswith(b"HTTP/1.1 403")  # read, and refused for its CSRF token


def test_many_large_bodies_at_once_are_not_parsed_in_the_servers_loop(site: Site) -> None:
    """Forms of a million fields: another stream goes on, and memory stays flat."""
    body = b"&a=" * 2**20
    request = LOG_IN + b"Connection: close\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    request += b"Content-Length: %d\r\n\r\n" % len(body) + body

    def send(_: int) -> bytes:
        with site.socket() as connection:
            connection.sendall(request)
            return read_all(connection)[:12]

    send(0)
    with other_stream(site) as other, ThreadPoolExecutor(4) as threads, flat_memory(site):
        answers = threads.map(send, range(8))
        delays = [other.delay() for _ in range(10)]
        assert set(answers) <= {b"HTTP/1.1 403", b"HTTP/1.1 400"}
    assert max(delays) < 1, f"the slowest of 10 changes took {max(delays):.2f} s"


def test_a_retry_loop_costs_little(site: Site) -> None:
    """As zero-cache does it, 25 ms after each refusal: a small part of a core, and a line in the log."""
    process = site.process
    lines = site.server.log_path.read_text().count("unknown token")
    before = process.cpu_times()
    started = time.monotonic()
    attempts = 0
    while time.monotonic() - started < 3:
        with pytest.raises(InvalidStatus), connect(site.url(token="wrong")):
            pass
        attempts += 1
        time.sleep(0.025)  # what is measured, not a synchronisation
    after = process.cpu_times()
    share = (after.user + after.system - before.user - before.system) / (time.monotonic() - started)
    assert attempts <= 4
    assert share < 0.1, f"{attempts} attempts took {share:.1%} of a core"
    assert site.server.log_path.read_text().count("unknown token") - lines <= 1


def test_very_many_refused_at_once_are_not_all_held(site: Site) -> None:
    """Of 200 wrong tokens of one address some are held for a second, the others are told at once; memory stays flat."""
    request = handshake("/changes/v0/stream?token=wrong")
    with other_stream(site) as other, flat_memory(site), ExitStack() as stack:
        connections = []
        for _ in range(200):
            connection = stack.enter_context(site.socket())
            connection.sendall(request)
            connections.append(connection)
        answers = {read_all(connection)[:12] for connection in connections}
        assert other.delay() < 1
    assert answers <= {b"HTTP/1.1 403", b"HTTP/1.1 429", b""}  # nothing: it took longer than HANDSHAKE_SECONDS


# Small limits


@pytest.fixture(scope="module")
def strict(open_site: Callable[..., Site]) -> Iterator[Site]:
    """With small limits, behind a proxy. Each test is from addresses of its own and by a client of its own."""
    site = open_site(
        "strict",
        HANDSHAKES_PER_ADDRESS="4",
        HANDSHAKES_PER_CLIENT="4",
        STREAMS_PER_CLIENT="1",
        MAX_UPSTREAM_BYTES="1000",
        PROXY_HEADERS="1",
        WEBSOCKET_DEFLATE="0",
    )
    yield site
    log = site.server.log_path.read_text()
    assert "Traceback" not in log
    assert site.deployment.token not in log


@pytest.fixture(scope="module")
def tokens(strict: Site) -> list[str]:
    """Of clients, one for each test that takes one."""
    code = (
        "from changesource.models import App, Client, Credential\n"
        f"app = App.objects.get(app_id={strict.deployment.app_id!r})\n"
        "for name in ['often', 'seldom', 'streams', 'sizes']:\n"
        "    print(Credential.objects.issue(Client.objects.create_for_apps(name, [app]))[1])\n"
    )
    return strict.deployment.manage("shell", "-v", "0", "-c", code).split()


def status_of(site: Site, address: str, token: str) -> int:
    try:
        with connect(site.url(token=token), additional_headers={"X-Forwarded-For": address}):
            return 101
    except InvalidStatus as refused:
        return refused.response.status_code


def statuses_of(site: Site, addresses: Iterable[str]) -> Counter[int]:
    """At the same time, each by a wrong token."""
    with ThreadPoolExecutor(16) as threads:
        return Counter(threads.map(lambda address: status_of(site, address, "wrong"), addresses))


def test_an_address_that_connects_too_often_is_refused(strict: Site) -> None:
    """429 before the token is looked at. What a caller writes before its address does not help; others are untouched."""
    assert statuses_of(strict, [f"198.51.100.{i}, 203.0.113.1" for i in range(5)]) == {403: 4, 429: 1}
    addresses = ["[2001:db8:0:1::1]:4711", *[f"2001:db8:0:1::{i}" for i in range(2, 6)], "2001:db8:0:2::1"]
    assert statuses_of(strict, addresses) == {403: 5, 429: 1}


def test_a_client_that_connects_too_often_is_refused(strict: Site, tokens: list[str]) -> None:
    """4429 with a reason, slowly, from whatever address; another client is untouched."""
    closings = []
    for i in range(5):
        started = time.monotonic()
        url, headers = strict.url(token=tokens[0], appID="none"), {"X-Forwarded-For": f"192.0.2.{i}"}
        with connect(url, additional_headers=headers) as one:
            closings.append(closing_of(one))
        assert time.monotonic() - started >= 1
    assert [code for code, _ in closings] == [4403] * 4 + [4429]
    assert "HANDSHAKES_PER_CLIENT" in (closings[-1][1] or "")
    with connect(strict.url(token=tokens[1]), additional_headers={"X-Forwarded-For": "192.0.2.9"}) as one:
        assert closing_of(one)[0] == 1000


def test_a_stream_too_many_is_refused(strict: Site, tokens: list[str]) -> None:
    """4430 while the first is open; who is back at once after its connection broke is let in. Refusals are kept."""
    with connect(strict.url(token=tokens[2]), additional_headers={"X-Forwarded-For": "192.0.2.19"}) as snapshot:
        version = json.loads(snapshot.recv(timeout=10))[2]["commitWatermark"]
        assert closing_of(snapshot)[0] == 1000
    url = strict.url(token=tokens[2], lastWatermark=version, replicaVersion=version)
    strict.deployment.database.orders.insert_one({"_id": "for all streams"})
    with connect(url, additional_headers={"X-Forwarded-For": "192.0.2.20"}, max_size=None, max_queue=None) as first:
        assert first.recv(timeout=10)
        with connect(url, additional_headers={"X-Forwarded-For": "192.0.2.21"}) as second:
            assert closing_of(second) == (4430, "This client has 1 open streams already, which is STREAMS_PER_CLIENT.")
        first.socket.shutdown(socket.SHUT_RDWR)
    with connect(url, additional_headers={"X-Forwarded-For": "192.0.2.21"}, max_size=None, max_queue=None) as third:
        assert json.loads(third.recv(timeout=10))[0] == "begin"
    assert "192.0.2.21 of client streams: 4430" in strict.server.log_path.read_text()
    code = (
        "from changesource.models import Refusal\n"
        "print(list(Refusal.objects.filter(code=4430).values_list('address', 'client', 'count')))"
    )
    kept = "[('192.0.2.21', 'streams', 1)]"
    wait_until(lambda: strict.deployment.manage("shell", "-v", "0", "-c", code).strip() == kept, 20)


def test_the_size_of_a_message_is_a_setting(strict: Site, tokens: list[str]) -> None:
    """1009 for what is longer, on an address that its proxy writes in another way."""
    version = strict.replica_version
    url = strict.url(token=tokens[3], lastWatermark=version, replicaVersion=version)
    with connect(url, additional_headers={"X-Forwarded-For": "::ffff:192.0.2.30"}) as connection:
        connection.send(json.dumps(["x", "y" * 1000]))
        assert closing_of(connection)[0] == 1009
    assert "192.0.2.30 of client sizes: 1009" in strict.server.log_path.read_text()


def accepted_extensions(site: Site, address: str) -> str:
    """Of WebSocket, of those that a client offers, as zero-cache does."""
    with connect(site.url(), additional_headers={"X-Forwarded-For": address}, compression="deflate") as connection:
        assert connection.response is not None
        return connection.response.headers.get("Sec-WebSocket-Extensions", "")


def test_compression_is_a_setting(site: Site, strict: Site) -> None:
    """A stream is compressed where the client offers it, and never with WEBSOCKET_DEFLATE=0."""
    assert "permessage-deflate" in accepted_extensions(site, "192.0.2.40")
    assert accepted_extensions(strict, "192.0.2.40") == ""


# Time


TWO_DAYS_AGO = """
import os, time

now = time.time
time.time = lambda: now() - (0 if os.path.exists(os.environ["TWO_DAYS_HAVE_PASSED"]) else 2 * 86_400)
"""
"""What a process begins with in which two days pass at once, when a file is there. Durations are measured as they are."""
LOOK_SECONDS = 2.0
ANSWER_SECONDS = 120.0
"""How long a stranger waits for an answer: fifty log-ins hash a password each."""
"""How often Daphne looks how old each WebSocket is, of which it ends those of more than a day by default."""


def test_a_stream_has_no_end(deployment: Deployment, open_site: Callable[..., Site]) -> None:
    """It goes on after two days as after the first second."""
    folder = deployment.folder / "two-days-ago"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(TWO_DAYS_AGO)
    passed = folder / "passed"
    site = open_site("endless", PYTHONPATH=str(folder), TWO_DAYS_HAVE_PASSED=str(passed))
    with other_stream(site) as other:
        passed.touch()
        began = time.monotonic()
        while time.monotonic() - began < 2 * LOOK_SECONDS + 1:
            other.delay()


# HTTP


@pytest.fixture(scope="module")
def small(open_site: Callable[..., Site]) -> Iterator[Site]:
    """Few requests, log-ins and connections, and no proxy."""
    site = open_site(
        "small",
        REQUESTS_PER_ADDRESS="30",
        LOGINS_PER_ADDRESS="3",
        CONNECTIONS_PER_ADDRESS="20",
        HANDSHAKES_PER_ADDRESS="0",
    )
    yield site
    assert "Traceback" not in site.server.log_path.read_text()


def ask(site: Site, path: str, data: bytes | None = None, cookie: str = "") -> tuple[int, HTTPMessage, bytes]:
    """Status, headers and body, on a connection of its own."""
    with closing(http.client.HTTPConnection("127.0.0.1", site.server.port, timeout=20)) as connection:
        headers = {"Connection": "close"}
        if data is not None:
            headers |= {"Content-Type": "application/x-www-form-urlencoded", "Cookie": cookie}
        connection.request("GET" if data is None else "POST", path, data, headers)
        response = connection.getresponse()
        return response.status, response.headers, response.read()


def test_connections_of_an_address_are_counted(small: Site) -> None:
    """Idle ones, requests and streams alike; the next ends at once, and there is room again when one has ended."""
    with ExitStack() as stack:
        streams = [stack.enter_context(small.opened_by_hand()) for _ in range(5)]
        idle = [stack.enter_context(small.socket()) for _ in range(14)]
        assert ask(small, "/healthz")[0] == 200
        idle.append(stack.enter_context(small.socket()))
        wait_until(lambda: is_ended(small), 10)
        with flat_memory(small):
            for _ in range(500):
                assert is_ended(small)
        streams.pop().close()
        wait_until(lambda: not is_ended(small), 10)
        assert ask(small, "/healthz")[0] == 200
        assert len(streams) == 4


def is_ended(site: Site) -> bool:
    """Whether a new connection is."""
    try:
        with site.socket() as connection:
            connection.settimeout(0.5)
            return connection.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def test_log_ins_of_an_address_are_counted_before_a_password_is_looked_at(small: Site) -> None:
    """Also without knowing whether there is such a user. The answer says how long to wait, and comes cheap."""
    _, headers, page = ask(small, "/admin/login/")
    cookie = str(headers["Set-Cookie"]).partition(";")[0]
    token = re.search(rb'name="csrfmiddlewaretoken" value="(\w+)"', page)
    assert token is not None
    data = b"username=nobody%0a&password=x&csrfmiddlewaretoken=" + token[1]
    assert [ask(small, "/admin/login/", data, cookie)[0] for _ in range(3)] == [200] * 3
    before = small.process.cpu_times().user
    status, headers, body = ask(small, "/admin/login/", data, cookie)
    assert status == 429
    assert body == f"Too many log-ins. Wait {headers['Retry-After']} seconds, and try again.".encode()
    assert small.process.cpu_times().user - before < 0.1


def test_a_flood_of_requests_delays_nobody(small: Site) -> None:
    """Those beyond the bucket are held, then told to wait; health is still answered, and memory stays flat."""

    def flood(_: int) -> list[int]:
        statuses = []
        until = time.monotonic() + 3
        while time.monotonic() < until:
            statuses.append(ask(small, "/admin/login/")[0])
        return statuses

    with other_stream(small) as other, ThreadPoolExecutor(10) as threads, flat_memory(small):
        floods = threads.map(flood, range(10))
        delays = [other.delay() for _ in range(10)]
        assert ask(small, "/healthz")[0] == 200
        statuses = Counter(status for each in floods for status in each)
    assert set(statuses) == {200, 429} or set(statuses) == {429}
    assert statuses[429] <= 50
    assert statuses[200] <= 35
    assert max(delays) < 1
    answers = (ask(small, "/api/apps/x/schema") for _ in range(31))
    status, headers, _ = next(answer for answer in answers if answer[0] != 401)
    assert (status, headers["Content-Type"]) == (429, "application/json")
    assert 1 <= int(headers["Retry-After"]) <= 2


def test_without_admin_there_are_health_the_stream_and_named_queries(deployment: Deployment) -> None:
    """`serve --no-admin`: no page, no file, no API for people."""

    class ServeWithoutAdmin(ServeCommand):
        def command(self) -> list[str]:
            return [*super().command(), "--no-admin"]

    with ServeWithoutAdmin(deployment.folder / "no-admin", environment=deployment.environment) as server:
        site = Site(deployment, server, "")
        for path in ("/", "/admin/", "/admin/login/", "/static/admin/css/base.css", "/api/apps/x/schema"):
            assert ask(site, path)[0] == 404
        assert ask(site, "/admin/login/", b"username=ada&password=x")[0] == 404
        assert ask(site, "/healthz")[0] == 200
        assert ask(site, "/api/zero/query", b"[]")[0] == 401  # there is such a path, which needs a token
        wait_until(lambda: ask(site, "/readyz")[0] == 200)  # a watcher of this process has to begin first
        with connect(site.url(), max_size=None, max_queue=None) as snapshot:
            assert closing_of(snapshot)[0] == 1000


# Turns


def test_snapshots_wait_their_turn_over_all_processes(deploy: Deploy) -> None:
    """A snapshot that waits is told nothing, is not stalled by that, and leaves the line when it goes away."""
    deployment = deploy(SCHEMA, log="redis", SNAPSHOTS_PER_APP="1", STALL_SECONDS="2")
    fill(deployment.database, 5)
    site = Site(deployment, deployment.start(), "")
    assert deployment.valkey is not None
    line = f"changesource:2:{{snapshots:{deployment.app_id}}}"
    with redis.Redis.from_url(deployment.valkey.url, protocol=2) as valkey:
        # The turn of another process, which dies later on.
        valkey.sadd(f"{line}:given", "another")
        valkey.hset(f"{line}:groups", "another", "0")
        valkey.zadd(f"{line}:until", {"another": (time.time() + 60) * 1000})
        with connect(site.url(shardNum=2), max_size=None, max_queue=None) as second:
            with connect(site.url(shardNum=1), max_size=None, max_queue=None):
                wait_until(lambda: valkey.zcard(f"{line}:waiting") == 2, 20)
            wait_until(lambda: valkey.zcard(f"{line}:waiting") == 1, 20)
            with pytest.raises(TimeoutError):
                second.recv(timeout=4)
            valkey.zadd(f"{line}:until", {"another": 1})
            assert json.loads(second.recv(timeout=10))[0] == "begin"
            assert closing_of(second)[0] == 1000
        wait_until(lambda: valkey.zcard(f"{line}:waiting") == 0 and valkey.scard(f"{line}:given") == 0, 20)


LARGE = 200_000
"""Characters of a document."""


class SlowReaders:
    """Connections that read some 250 KB a second each, for as long as they are open."""

    def __init__(self, site: Site, count: int) -> None:
        self._site = site
        self._sockets: list[socket.socket] = []
        self._count = count
        self._must_end = Event()
        self._thread = Thread(target=self._read)

    def __enter__(self) -> None:
        for shard_num in range(self._count):
            connection = socket.socket()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
            connection.connect(("127.0.0.1", self._site.server.port))
            parts = urlsplit(self._site.url(shardNum=shard_num))
            connection.sendall(handshake(f"{parts.path}?{parts.query}"))
            assert connection.recv(12) == b"HTTP/1.1 101"
            connection.setblocking(False)
            self._sockets.append(connection)
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._must_end.set()
        self._thread.join()
        for connection in self._sockets:
            connection.close()

    def _read(self) -> None:
        while not self._must_end.wait(0.25):
            for connection in self._sockets:
                with suppress(OSError):
                    connection.recv(65_536)


@pytest.mark.parametrize(("turns", "seconds"), [(4, 5), (1, 30)])
def test_slow_snapshots_do_not_keep_others_waiting(deploy: Deploy, log: str, turns: int, seconds: float) -> None:
    """20 snapshots of one client are read slowly. Another client's begins at once, or, where there is one turn only, after
    the one or two that came before it have been found too slow; and is sent whole."""
    deployment = deploy(
        SCHEMA,
        log=log,
        SNAPSHOTS_PER_APP=str(turns),
        STALL_SECONDS="3",
        SNAPSHOT_MIN_BYTES_PER_SECOND="4000000",
    )
    deployment.database.notes.insert_many([{"_id": f"note-{i}", "text": str(i % 10) * LARGE} for i in range(150)])
    token = deployment.manage("create_client", "other", "--app", deployment.app_id).splitlines()[-1]
    site = Site(deployment, deployment.start(), "")
    log_path = site.server.log_path
    with SlowReaders(site, 20):
        wait_until(lambda: ": snapshot for client zero-cache" in log_path.read_text(), 20)
        began = time.monotonic()
        with connect(site.url(token=token), max_size=None, max_queue=None) as other:
            assert json.loads(other.recv(timeout=seconds))[0] == "begin"
            waited = time.monotonic() - began
            assert closing_of(other)[0] == 1000
        assert waited < seconds
        wait_until(lambda: "dropped: CS502" in log_path.read_text(), 30)


def revoke_all(url: str) -> None:
    """As `revoke_credential` does, without the time that a command takes to start."""
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE changesource_credential SET revoked_at = now()")


def login(server: ServeCommand) -> bytes:
    """A request with a wrong password, which costs the server the time of hashing it."""
    with urlopen(f"{server.url}/admin/login/", timeout=20) as response:
        [cookie] = [value for name, value in response.headers.items() if name.lower() == "set-cookie"]
    token = cookie.partition("=")[2].partition(";")[0]
    body = f"username=nobody&password=wrong&csrfmiddlewaretoken={token}".encode()
    return (
        f"POST /admin/login/ HTTP/1.1\r\nHost: localhost\r\nCookie: csrftoken={token}\r\nConnection: close\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


@pytest.mark.parametrize("what", ["tokens", "readiness", "pages"])
def test_strangers_do_not_hold_up_what_is_revoked(deploy: Deploy, postgres_server: PostgresServer, what: str) -> None:
    """500 anonymous requests at a time, which have wrong tokens looked up, or ask whether the process is ready, or have
    sessions looked up and passwords hashed: a revoked stream ends within two seconds. On PostgreSQL, where each
    query opens a connection."""
    django_database = make_postgresql(postgres_server)
    unlimited = dict.fromkeys(("CONNECTIONS_PER_ADDRESS", "REQUESTS_PER_ADDRESS", "LOGINS_PER_ADDRESS"), "0")
    deployment = deploy(SCHEMA, DATABASE_URL=django_database, **unlimited)
    fill(deployment.database, 5)
    server = deployment.start()
    with connect(Site(deployment, server, "").url(), max_size=None, max_queue=None) as connection:
        version = json.loads(connection.recv())[2]["commitWatermark"]
        assert closing_of(connection)[0] == 1000
    site = Site(deployment, server, version)
    path = f"/api/apps/{deployment.app_id}/snapshots"
    look_up = request_with(f"Cookie: sessionid={'x' * 32}".encode()).replace(b"/healthz", path.encode())
    requests = {
        "tokens": [handshake("/changes/v0/stream?token=wrong")],
        "readiness": [request_with().replace(b"/healthz", b"/readyz")],
        "pages": [login(server), *[look_up] * 9],
    }[what]
    with ExitStack() as stack:
        stream = stack.enter_context(site.resume())
        deployment.database.orders.insert_one({"_id": "the stream is open"})
        stream.recv(timeout=20)
        strangers = [stack.enter_context(site.socket()) for _ in range(500)]
        for i, stranger in enumerate(strangers):
            stranger.sendall(requests[i % len(requests)])
        revoke_all(django_database)
        began = time.monotonic()
        assert closing_of(stream)[0] == 4401
        seconds = time.monotonic() - began
        for stranger in strangers:
            stranger.settimeout(ANSWER_SECONDS)
            stranger.recv(1)
        answered = time.monotonic() - began
    logger.info("the stream ended after %.1f s, the last stranger was answered after %.1f s", seconds, answered)
    assert seconds < 2.0, f"after {seconds:.1f} s; all strangers were answered after {answered:.1f} s"
