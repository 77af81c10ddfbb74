"""Every hostile input is refused with its defined answer, and nobody else notices: see `hostile_inputs.py`."""

import http.client
import json
import re
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlencode

import psutil
import pytest

from tests.authentication.issuer import AUDIENCE, ISSUER, SECRET, jwk, signed
from tests.e2e.deployment import Deployment
from tests.e2e.hostile_inputs import (
    ASKS,
    CALLS,
    FORMS,
    HANDSHAKES,
    PING,
    RAW_REQUESTS,
    REFUSED,
    UPSTREAM,
    Ask,
    Call,
    Form,
    Handshake,
    RawRequest,
    Upstream,
)
from tests.e2e.raw_websocket import CLOSE, DEFLATE, PONG, SWITCHED, RawConnection, Response, frame, handshake
from tests.e2e.workload import SCHEMA, fill
from zerosources.embedded.project import ServeCommand
from zerosources.embedded.servers import MongoServer, PostgresServer

pytestmark = pytest.mark.timeout(150)

MAX_GROWTH_BYTES = 30 * 2**20
LARGE_FORMS = [form for form in FORMS if len(str(form.data)) > 50_000]
LARGE_ASKS = [ask for ask in ASKS if len(ask.body) > 50_000]
"""A form or a body of megabytes takes tens of megabytes while it is read, which the process keeps for the next: they are sent
once before."""
MAX_DELAY_SECONDS = 2
AT_A_TIME = 16
"""Fewer than the streams that a client may have."""
HELD_SECONDS = 1.0

SET_UP = """
import json
from django.contrib.auth.models import Group, User
from django.test import Client as Browser
from changesource.models import App, Client, Credential, Table

def session(user):
    browser = Browser()
    browser.force_login(user)
    return browser.cookies["sessionid"].value

admin = User.objects.create_superuser("ada")
viewer = User.objects.create_user("vera", is_staff=True)
viewer.groups.add(Group.objects.get(name="Zero viewers"))
app = App.objects.get(app_id="{app}")
other_app = App.objects.create(app_id="{app}_other")
client = Client.objects.create_for_apps("cache", [app])
Client.objects.filter(pk=client.pk).update(accepts_jwt=True)
client.grants.update(shards="0")
other = Client.objects.create_for_apps("other", [other_app])
credential, token = Credential.objects.issue(client)
other_credential, _ = Credential.objects.issue(other)
bait = Table.objects.create(
    app=other_app, name="bait", mapping=json.dumps({"filter": {"text": {"$regex": "^(a+)+$"}}}), primary_key=["_id"]
)
bait.columns.create(name="_id", type="string", position=0)
print(json.dumps({
    "app_pk": app.pk, "other_app": other_app.app_id, "other_app_pk": other_app.pk,
    "client": client.pk, "grant": client.grants.get().pk, "credential": credential.pk, "token": token,
    "other": other.pk, "other_grant": other.grants.get().pk, "other_credential": other_credential.pk,
    "table": app.tables.get(name="orders").pk, "bait": bait.pk,
    "admin": session(admin), "viewer": session(viewer),
}))
"""

TABLES = ["app", "table", "column", "version", "client", "grant", "credential"]
CHANGE_BY_USE = {"last_seen_at", "last_used_at"}


@dataclass(frozen=True)
class Site:
    """A server, and what the names in `hostile_inputs` stand for."""

    deployment: Deployment
    server: ServeCommand
    names: Mapping[str, str]

    def filled(self, text: str) -> str:
        for name, value in self.names.items():
            text = text.replace(f"{{{name}}}", value)
        return text

    def open_stream(self, token: str, version: str = "", headers: bytes = b"") -> RawConnection:
        """A snapshot, or from `version` on."""
        query = f"appID={self.names['app']}&shardNum=0"
        if version:
            query += f"&lastWatermark={version}&replicaVersion={version}"
        connection = RawConnection(self.server.port)
        headers += b"Authorization: Bearer " + token.encode() + b"\r\n"
        connection.send(handshake(f"/changes/v0/stream?{query}", headers))
        assert connection.response().code == SWITCHED
        return connection

    def replica(self, token: str) -> str:
        """The version of a new replica."""
        with self.open_stream(token) as connection:
            version = json.loads(connection.message().payload)[2]["commitWatermark"]
            assert connection.closing().code == 1000
        return str(version)

    def rows(self) -> dict[str, list[Any]]:
        """What is stored, but for what use changes."""
        with closing(sqlite3.connect(self.deployment.folder / "django.sqlite3")) as database:
            database.row_factory = sqlite3.Row
            return {
                name: [
                    {column: row[column] for column in row.keys() if column not in CHANGE_BY_USE}  # noqa: SIM118
                    for row in database.execute(f"SELECT * FROM changesource_{name} ORDER BY id")  # noqa: S608
                ]
                for name in TABLES
            }

    @property
    def memory(self) -> int:
        return psutil.Process(self.server.pid).memory_info().rss


class Answered(NamedTuple):
    """What came, how soon, and what was sent that must be in no log."""

    response: Response | None
    seconds: float = 0.0
    secret: str = ""


class Found(NamedTuple):
    """Of the whole run: the answers by place and name, delays of another's stream, memory, and what is stored."""

    answers: Mapping[tuple[type, str], Answered | Exception]
    delays: Sequence[float]
    growth_bytes: int
    rows_before: Mapping[str, Any]
    rows_after: Mapping[str, Any]
    log: str


class Bystander(threading.Thread):
    """A stream of another client that is read the whole time, and the memory of the server meanwhile."""

    def __init__(self, site: Site, version: str) -> None:
        super().__init__()
        self._site = site
        self._connection = site.open_stream(site.deployment.token, version)
        self._is_over = threading.Event()
        self.delays: list[float] = []
        self.max_memory = 0
        self.failure: Exception | None = None

    def run(self) -> None:
        try:
            with self._connection:
                while not self._is_over.is_set():
                    self.delays.append(delay_of_a_change(self._site, self._connection))
                    self.max_memory = max(self.max_memory, self._site.memory)
                    self._is_over.wait(0.1)
        except Exception as failure:  # noqa: BLE001 (raised where it is waited for)
            self.failure = failure

    def __enter__(self) -> "Bystander":
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._is_over.set()
        self.join()


def delay_of_a_change(site: Site, connection: RawConnection) -> float:
    """Seconds from a change in MongoDB to its commit in a stream, which is still open. Raises `EOFError`."""
    key = uuid.uuid4().hex
    started = time.monotonic()
    site.deployment.database.orders.insert_one({"_id": key})
    is_found = False
    while True:
        opcode, payload = connection.message()
        if opcode == CLOSE:
            raise EOFError(payload)
        is_found = is_found or key.encode() in payload
        if is_found and payload.startswith(b'["commit"'):
            return time.monotonic() - started


@pytest.fixture(scope="module")
def site(run_dir: Path, mongo_server: MongoServer, postgres_server: PostgresServer) -> Iterator[Site]:
    """As in production, but for TLS."""
    with ExitStack() as stack:
        mappings = {"orders": {"source": "orders", "filterColumns": ["text", "n"]}}
        jwt_settings = {
            "JWT_KEYS": json.dumps({"keys": [jwk("RS256"), jwk("HS256", kid="a")]}),
            "JWT_AUDIENCE": AUDIENCE,
            "JWT_ISSUER": ISSUER,
        }
        folder = run_dir / "hostile"
        settings = {"DEBUG": "0", "ALLOWED_HOSTS": "localhost,127.0.0.1", "HANDSHAKE_SECONDS": "5", **jwt_settings}
        settings["MALLOC_ARENA_MAX"] = "1"  # so that what is measured is what is in use, and not what each thread keeps
        deployment = Deployment(stack, folder, mongo_server, postgres_server, None, SCHEMA, mappings, **settings)
        fill(deployment.database, 5)
        deployment.database.bait.insert_one({"_id": "a", "text": "a" * 5_000 + "!"})
        output = deployment.manage("shell", "-v", "0", "-c", SET_UP.replace("{app}", deployment.app_id))
        names = {name: str(value) for name, value in json.loads(output).items()}
        site = Site(deployment, deployment.serve(), {**names, "app": deployment.app_id})
        yield Site(deployment, site.server, {**site.names, "version": site.replica(site.names["token"])})


@pytest.fixture(scope="module")
def found(site: Site) -> Found:
    """All inputs are sent once, many at a time."""
    version = site.replica(site.deployment.token)
    for case in (CALLS[0], *FORMS):
        if case in LARGE_FORMS or case in (CALLS[0], FORMS[0]):
            send_http(site, case)
    for ask in LARGE_ASKS:
        send_ask(site, ask)
    with site.open_stream(signed()) as connection:
        assert connection.closing().code == 1000
    rows_before = site.rows()
    with Bystander(site, version) as bystander, ThreadPoolExecutor() as threads:
        memory = site.memory
        places = threads.map(lambda place: all_answers(site, *place), PLACES)
        answers = {key: answer for place in places for key, answer in place.items()}
    if bystander.failure is not None:
        raise bystander.failure
    log = site.server.log_path.read_text()
    return Found(answers, bystander.delays, bystander.max_memory - memory, rows_before, site.rows(), log)


Case = TypeVar("Case", Handshake, RawRequest, Upstream, Form, Call, Ask)


def all_answers(
    site: Site, at_a_time: int, send: Callable[[Site, Case], Answered], cases: Sequence[Case]
) -> Mapping[tuple[type, str], Answered | Exception]:
    """Of the cases of one place, by their names."""

    def answer(case: Case) -> Answered | Exception:
        started = time.monotonic()
        try:
            answered = send(site, case)
        except Exception as failure:  # noqa: BLE001 (the test of the case raises it)
            return failure
        return answered._replace(seconds=time.monotonic() - started)

    with ThreadPoolExecutor(at_a_time) as threads:
        found = threads.map(answer, cases)
        return {(type(case), case.name): answered for case, answered in zip(cases, found, strict=True)}


def send_handshake(site: Site, case: Handshake) -> Answered:
    token = site.names["token"] if case.jwt is None else case.jwt()
    authorization = b"Bearer " + token.encode() if case.authorization is None else case.authorization
    header = b"Authorization: " + authorization + b"\r\n" if authorization else b""
    with RawConnection(site.server.port) as connection:
        connection.send(handshake(f"{case.path}?{site.filled(case.query)}", header + case.headers))
        response = connection.response()
        return Answered(connection.closing() if response.code == SWITCHED else response, secret=token)


def send_raw_request(site: Site, case: RawRequest) -> Answered:
    with RawConnection(site.server.port) as connection:
        connection.send(case.sends())
        return Answered(connection.response())


def send_upstream(site: Site, case: Upstream) -> Answered:
    headers = DEFLATE if case.is_compressed else b""
    with site.open_stream(site.names["token"], site.names["version"], headers) as connection:
        connection.send(case.sends())
        if case.answer is not None:
            return Answered(connection.closing())
        connection.send(frame(PING, b"?"))
        while connection.message() != (PONG, b"?"):
            continue
        delay_of_a_change(site, connection)
        return Answered(None)


CSRF = "c" * 32


def send_http(site: Site, case: Form | Call) -> Answered:
    headers = {"Host": "localhost"}
    body = None
    if isinstance(case, Form):
        method, path, session = "GET", case.page, site.names["admin"]
        if case.data is not None or case.encoded is not None:
            method = "POST"
            data = {name: site.filled(value) for name, value in (case.data or {}).items()}
            body = case.encoded or urlencode(data).encode()
            headers["Content-Type"] = "application/x-www-form-urlencoded"
    else:
        method, path, session = case.method, case.path, site.names.get(case.who, "")
    cookies = {"sessionid": session, "csrftoken": CSRF}
    headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items() if value)
    if not isinstance(case, Form) or case.has_csrf_token:
        headers["X-CSRFToken"] = CSRF
    if isinstance(case, Call):
        headers |= {name: site.filled(value) for name, value in case.headers.items()}
    with closing(http.client.HTTPConnection("127.0.0.1", site.server.port, timeout=20)) as connection:
        connection.request(method, site.filled(path), body, headers)
        answer = connection.getresponse()
        return Answered(Response(answer.status, answer.read().decode(errors="replace")))


def send_ask(site: Site, case: Ask) -> Answered:
    key = site.names["token"] if case.key is None else case.key()
    user_jwt = signed()
    headers = (
        {"Host": "localhost", "Content-Type": "application/json", "X-Api-Key": key} if key else {"Host": "localhost"}
    )
    headers |= {name: site.filled(value).replace("{jwt}", user_jwt) for name, value in case.headers.items()}
    with closing(http.client.HTTPConnection("127.0.0.1", site.server.port, timeout=20)) as connection:
        connection.request(case.method, f"/api/zero/query?{site.filled(case.query)}", case.body, headers)
        answer = connection.getresponse()
        return Answered(Response(answer.status, answer.read().decode(errors="replace")), secret=key)


PLACES: list[tuple[int, Any, Any]] = [
    (AT_A_TIME, send_handshake, HANDSHAKES),
    (AT_A_TIME, send_raw_request, RAW_REQUESTS),
    (AT_A_TIME, send_upstream, UPSTREAM),
    (1, send_http, FORMS),
    (1, send_http, CALLS),
    (AT_A_TIME, send_ask, [ask for ask in ASKS if ask.says == REFUSED]),
    (1, send_ask, [ask for ask in ASKS if ask.says != REFUSED]),
]
"""How many at a time, by what, and which. Of forms, calls and what is read for named queries one, as each takes a thread's
worth of memory and of time. Refused credentials have to wait, and take nothing meanwhile."""


def answered(found: Found, case: Any) -> Answered:
    answer = found.answers[type(case), case.name]
    if isinstance(answer, Exception):
        raise answer
    return answer


def by_name(cases: Sequence[Any]) -> Any:
    return pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in cases])


@by_name(HANDSHAKES)
def test_handshake(found: Found, case: Handshake) -> None:
    """Refused with its code, and a reason that repeats nothing; not before a second has passed, as zero-cache comes back
    every 25 ms."""
    answer = answered(found, case)
    assert answer.response == case.answer
    assert answer.seconds >= HELD_SECONDS


@by_name(RAW_REQUESTS)
def test_raw_request(found: Found, case: RawRequest) -> None:
    """Refused with its status, or without, when it was not read to its end."""
    response = answered(found, case).response
    assert response is not None
    assert response.code in {case.status, 0}


@by_name(UPSTREAM)
def test_upstream(found: Found, case: Upstream) -> None:
    """The stream is closed with its code and a reason that repeats nothing, or goes on."""
    assert answered(found, case).response == case.answer


ERRORS = re.compile(r'<ul class="errorlist[^"]*"(?: id="id_([\w-]+)_error")?[^>]*>(.*?)</ul>', re.DOTALL)


@by_name(FORMS)
def test_form(found: Found, site: Site, case: Form) -> None:
    """Its status, and what the page says at the input."""
    response = answered(found, case).response
    assert response is not None
    errors = [f"{name}: {unescape(re.sub('<[^>]*>', '', text))}" for name, text in ERRORS.findall(response.text)]
    assert response.code == case.status, errors
    assert not case.says or any(site.filled(case.says) in error for error in errors), errors


@by_name(CALLS)
def test_call(found: Found, site: Site, case: Call) -> None:
    """Its status, and a detail that repeats nothing."""
    response = answered(found, case).response
    assert response is not None
    assert response.code == case.status
    if case.says is not None:
        assert json.loads(response.text) == {"detail": site.filled(case.says)}


@by_name(ASKS)
def test_ask(found: Found, case: Ask) -> None:
    """Its status, and what the answer says. Refused credentials have to wait."""
    answer = answered(found, case)
    assert answer.response is not None
    assert (answer.response.code, case.says in answer.response.text) == (case.status, True), answer.response.text[
        :1_000
    ]
    if case.says == REFUSED:
        assert answer.seconds >= HELD_SECONDS


def test_nothing_was_stored(found: Found) -> None:
    """Not in what people edit, nor in what lets somebody in."""
    assert found.rows_after == found.rows_before


def test_another_stream_goes_on(found: Found) -> None:
    """It was never closed, and each change was there soon."""
    assert max(found.delays) < MAX_DELAY_SECONDS, f"of {len(found.delays)}: {sorted(found.delays)[-5:]}"


def test_memory_is_flat(found: Found) -> None:
    """At any time meanwhile."""
    assert found.growth_bytes < MAX_GROWTH_BYTES, f"the server grew by {found.growth_bytes / 2**20:.1f} MB"


def test_log_is_quiet(found: Found, site: Site) -> None:
    """No traceback, no token, and no line that somebody else has written."""
    assert "Traceback" not in found.log
    secrets = {answer.secret for answer in found.answers.values() if isinstance(answer, Answered)} - {""}
    secrets |= {site.deployment.token, SECRET, site.names["admin"], site.names["viewer"]}
    assert not [secret for secret in secrets if secret in found.log]
    assert not [line for line in found.log.splitlines() if not re.match(r"\d{4}-\d\d-\d\d ", line)]
