"""Every header that a package gives a meaning has hostile rows, and defined answers, of `serve` and of Daphne's command."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from changesource.daphne.http_channel import MEANINGLESS_HEADERS
from tests.e2e.asgi_servers import DaphneCommand
from tests.e2e.hostile_headers import HEADERS, LOG_IN, MEANT_OTHERWISE, REQUESTS, STREAM, Header, Request
from tests.e2e.raw_websocket import RawConnection, handshake
from tests.embedded.django_database import make_sqlite
from zerosources.embedded.project import ServeCommand, project_environment

pytestmark = pytest.mark.timeout(150)

AT_A_TIME = 48
SILENT_SECONDS = 10
"""After which a connection that a header has kept open is taken to have said everything."""
GOOD_PAGE = {"Host": b"localhost", "Connection": b"close"}
GOOD_HANDSHAKE = {
    "Host": b"localhost",
    "Upgrade": b"websocket",
    "Connection": b"Upgrade",
    "Sec-WebSocket-Version": b"13",
    "Sec-WebSocket-Key": b"dGhlIHNhbXBsZSBub25jZQ==",
}


@dataclass(frozen=True)
class Answers:
    """Whole answers, by case and place, and the log."""

    pages: dict[str, bytes]
    streams: dict[str, bytes]
    requests: dict[str, bytes]
    log: str


SERVERS = {"serve": ServeCommand, "daphne": DaphneCommand}


@pytest.fixture(scope="module")
def answers_of_each(run_dir: Path) -> dict[str, Answers]:
    """Both servers are asked at the same time, since most of that is waiting."""
    servers = []
    for name, kind in SERVERS.items():
        folder = run_dir / f"headers-{name}"
        servers.append(kind(folder, environment=environment_in(folder)))
    with ThreadPoolExecutor() as threads:
        return dict(zip(SERVERS, threads.map(ask, servers), strict=True))


@pytest.fixture(params=SERVERS)
def answers(answers_of_each: dict[str, Answers], request: pytest.FixtureRequest) -> Answers:
    return answers_of_each[request.param]


def ask(server: ServeCommand) -> Answers:
    with server, ThreadPoolExecutor(AT_A_TIME) as threads:

        def answer(data: bytes) -> bytes:
            with RawConnection(server.port, SILENT_SECONDS) as connection:
                connection.send(data)
                return connection.everything()

        pages = threads.map(lambda case: answer(page_request(case)), HEADERS)
        streams = threads.map(lambda case: answer(handshake_request(case)), HEADERS)
        requests = threads.map(lambda case: answer(case.sends), REQUESTS)
        by_id = [case.id for case in HEADERS]
        return Answers(
            dict(zip(by_id, pages, strict=True)),
            dict(zip(by_id, streams, strict=True)),
            {case.name: answer for case, answer in zip(REQUESTS, requests, strict=True)},
            server.log_path.read_text(),
        )


def environment_in(folder: Path) -> dict[str, str]:
    """With a new database, and without a source."""
    folder.mkdir()
    environment = {
        **project_environment(folder / "django.sqlite3", mongodb_uri="", secret_key="for tests only"),
        "DEBUG": "0",
        "ALLOWED_HOSTS": "localhost,127.0.0.1",
    }
    make_sqlite(folder / "django.sqlite3")
    return environment


def page_request(case: Header) -> bytes:
    length = {"Content-Length": b"0"} if case.method == "POST" else {}
    return request_with(f"{case.method} {case.target}", GOOD_PAGE | length, case)


def handshake_request(case: Header) -> bytes:
    return request_with(f"GET {STREAM}?appID=shop&shardNum=0", GOOD_HANDSHAKE, case)


def request_with(start: str, good: dict[str, bytes], case: Header) -> bytes:
    headers = [(name, value) for name, value in good.items() if name != case.name or case.is_added]
    lines = [name.encode("latin-1") + b": " + value for name, value in [*headers, (case.name, case.value)]]
    return b"\r\n".join([f"{start} HTTP/1.1".encode(), *lines, b"", b""])


def last_status(answer: bytes) -> int:
    """0 for a connection that was ended without an answer."""
    found = re.findall(rb"HTTP/1\.[01] (\d{3}) ", answer)
    return int(found[-1]) if found else 0


HEADER_CASES = pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in HEADERS])


@HEADER_CASES
def test_header_of_a_page(answers: Answers, case: Header) -> None:
    """Its status; where it leads to is a page of our own."""
    answer = answers.pages[case.id]
    assert last_status(answer) == case.page
    assert set(re.findall(rb"\r\nLocation: ([^\r]*)\r\n", answer)) <= {LOG_IN.encode()}
    assert b"Set-Cookie: a=b" not in answer


@HEADER_CASES
def test_header_of_a_handshake(answers: Answers, case: Header) -> None:
    """Its status, and nothing of what was sent."""
    answer = answers.streams[case.id]
    assert last_status(answer) == case.stream
    assert b"evil" not in answer
    assert b"99999" not in answer


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in REQUESTS])
def test_request(answers: Answers, case: Request) -> None:
    """Its status; the answer may be lost where the server ends the connection while more comes in."""
    answer = answers.requests[case.name]
    assert last_status(answer) in ({case.status, 0} if len(case.sends) > 10_000 else {case.status})
    assert b"evil" not in b"".join(re.findall(rb"\r\nLocation: [^\r]*\r\n", answer))


def test_log_is_quiet(answers: Answers) -> None:
    """No traceback, and no line that somebody else has written. Daphne's command has lines of its own for each request."""
    assert "Traceback" not in answers.log
    lines = answers.log.splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith("2"))
    assert [
        line for line in lines[begin:] if not re.match(r"\d{4}-\d\d-\d\d |(127\.0\.0\.1:\d+|None) - - \[", line)
    ] == []


@pytest.mark.parametrize("prefix", ["/zero", ""], ids=["left by the proxy", "taken away by the proxy"])
def test_below_a_root_path(below_root_path: ServeCommand, prefix: str) -> None:
    """Pages lead to pages below it, files are found, and so is the stream; what looks like it is elsewhere."""
    get = f"GET {prefix}%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

    def answer(request: bytes) -> bytes:
        with RawConnection(below_root_path.port) as connection:
            connection.send(request)
            return connection.everything()

    assert b"\r\nLocation: /zero/admin/login/?next=/zero/admin/\r\n" in answer((get % "/admin/").encode())
    page = answer((get % "/admin/login/").encode())
    assert re.findall(rb'href="(/[^"]*base.css)"', page) == [b"/zero/static/admin/css/base.css"]
    assert last_status(answer((get % "/static/admin/css/base.css").encode())) == 200
    assert last_status(answer((get % "/healthz").encode())) == 200
    assert last_status(answer(handshake(f"{prefix}{STREAM}"))) == 403
    assert last_status(answer(handshake(f"{prefix}x{STREAM}"))) == 404


@pytest.fixture(scope="module")
def below_root_path(run_dir: Path) -> Iterator[ServeCommand]:
    environment = {**environment_in(run_dir / "root-path"), "ROOT_PATH": "/zero"}
    with ServeCommand(run_dir / "root-path", environment=environment) as server:
        yield server


# The names

SOURCES = ["daphne", "autobahn.websocket", "twisted.web", "django", "rest_framework", "whitenoise", "simple_history"]
READS = [
    re.compile(pattern)
    for pattern in (
        r'["\']HTTP_([A-Z][A-Z_]+)["\']',
        r'["\'](CONTENT_[A-Z]+)["\']',
        r'\.(?:get|getRawHeaders|hasHeader|removeHeader)\(\s*b["\']([A-Za-z][A-Za-z-]+)["\']',
        r'(?:headers\.get|getHeader)\(\s*b?["\']([A-Za-z-]+)["\']',
        r'http_headers\[\s*["\']([a-z-]+)["\']',
        r'["\']([a-z-]+)["\'] (?:not )?in self\.http_headers',
        r'[=!]= b?["\']([A-Za-z]+(?:-[A-Za-z]+)+)["\']',
        r'_header_name\w*=["\']([A-Za-z-]+)["\']',
    )
]


def headers_read(package: str) -> set[str]:
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    texts = [
        path.read_text() for path in Path(spec.origin).parent.rglob("*.py") if not {"test", "tests"} & set(path.parts)
    ]
    return {name.lower().replace("_", "-") for text in texts for reads in READS for name in reads.findall(text)}


def test_every_header_that_a_package_reads_has_a_row() -> None:
    """A new version with a new header is noticed here."""
    read = set[str]().union(*map(headers_read, SOURCES))
    assert len(read) > 40
    assert read - {case.name.lower() for case in HEADERS} - MEANT_OTHERWISE == set()


def test_every_header_that_is_taken_away_has_a_row() -> None:
    """So that its answer is known."""
    assert {name.decode() for name in MEANINGLESS_HEADERS} <= {case.name for case in HEADERS}
