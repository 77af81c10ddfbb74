"""changesource/authentication/remote_keys.py"""

import asyncio
import contextlib
import json
import socket
import threading

import pytest

from changesource.authentication import remote_keys
from changesource.authentication.keys import MAX_KEYS_BYTES
from changesource.authentication.remote_keys import FRESH_SECONDS, RETRY_SECONDS, RemoteKeys, fetch_text, is_safe_url
from changesource.errors import KeysUnavailable
from tests.authentication.issuer import Answer, KeyServer, jwk


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(keys_at_url: KeyServer, clock: Clock) -> RemoteKeys:
    keys_at_url.publish(jwk("ES256", kid="first"))
    return RemoteKeys(keys_at_url.url, clock)


async def names(keys: RemoteKeys, kid: str | None) -> list[str | None]:
    return [key.kid for key in await keys.keys_for(kid)]


async def test_keys_are_kept_for_some_minutes(keys: RemoteKeys, keys_at_url: KeyServer, clock: Clock) -> None:
    """Then they are fetched again."""
    for _ in range(10):
        assert await names(keys, "first") == ["first"]
        assert await names(keys, None) == ["first"]
        clock.now += FRESH_SECONDS / 11
    assert keys_at_url.count == 1
    clock.now += FRESH_SECONDS
    assert await names(keys, "first") == ["first"]
    assert keys_at_url.count == 2


async def test_a_new_kid_has_the_keys_fetched_at_once(keys: RemoteKeys, keys_at_url: KeyServer, clock: Clock) -> None:
    """A key that the issuer has withdrawn is gone."""
    await keys.keys_for("first")
    keys_at_url.publish(jwk("ES256", 1, kid="second"))
    clock.now += RETRY_SECONDS
    assert await names(keys, "second") == ["second"]
    assert keys_at_url.count == 2


async def test_unknown_kids_cost_one_fetch_in_some_seconds(
    keys: RemoteKeys, keys_at_url: KeyServer, clock: Clock
) -> None:
    """However many tokens name them."""
    for number in range(100):
        assert await names(keys, f"unknown {number}") == ["first"]
    assert keys_at_url.count == 1
    clock.now += RETRY_SECONDS
    for number in range(100):
        await keys.keys_for(f"unknown {number}")
    assert keys_at_url.count == 2


async def test_tokens_that_come_during_a_fetch_share_it(keys: RemoteKeys, keys_at_url: KeyServer, clock: Clock) -> None:
    """However long it takes. One that is cancelled changes nothing for the others."""
    keys_at_url.may_answer.clear()
    tasks = [asyncio.create_task(keys.keys_for("first")) for _ in range(20)]
    while keys_at_url.count == 0:
        await asyncio.sleep(0.001)
    clock.now += 10 * FRESH_SECONDS
    tasks += [asyncio.create_task(keys.keys_for(None)) for _ in range(20)]
    tasks[0].cancel()
    await asyncio.sleep(0)
    keys_at_url.may_answer.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert all(len(each) == 1 for each in found[1:])
    assert keys_at_url.count == 1


async def test_a_token_waits_some_seconds_for_a_silent_issuer(
    keys: RemoteKeys, keys_at_url: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No longer."""
    monkeypatch.setattr(remote_keys, "TIMEOUT_SECONDS", 0.05)
    keys_at_url.may_answer.clear()
    assert await names(keys, "first") == []


@pytest.mark.parametrize(
    "answer",
    [
        Answer(500, b"{}"),
        Answer(404),
        Answer(200, b"not JSON"),
        Answer(200, b'{"keys": 1}'),
        Answer(200, b"x" * (MAX_KEYS_BYTES + 1)),
        Answer(200, b"{}", {"Content-Length": "1000", "Connection": "close"}),
        Answer(302, b"", {"Location": "https://127.0.0.1:1/"}),
        Answer(302, b"", {"Location": "http://issuer.example.com/"}),
        Answer(302, b"", {"Location": "file:///etc/passwd"}),
        Answer(302, b"", {"Location": "ftp://127.0.0.1/"}),
        Answer(302, b"", {"Location": "http://[::1/"}),
        Answer(302, b"", {"Location": "/jwks.json"}),
    ],
    ids=lambda answer: f"{answer.status} {answer.body[:10]!r} {answer.headers.get('Location', '')}",
)
async def test_a_failed_fetch_leaves_the_known_keys_in_use(
    keys: RemoteKeys, keys_at_url: KeyServer, clock: Clock, caplog: pytest.LogCaptureFixture, answer: Answer
) -> None:
    """However it fails. The log says so, without the URL."""
    await keys.keys_for("first")
    keys_at_url.answer = answer
    clock.now += FRESH_SECONDS
    assert await names(keys, "first") == ["first"]
    assert "those known stay in use" in caplog.text
    assert keys_at_url.url not in caplog.text
    asked = keys_at_url.count
    assert await names(keys, "other") == ["first"]
    assert keys_at_url.count == asked


async def test_keys_arrive_once_the_issuer_answers(keys_at_url: KeyServer, clock: Clock) -> None:
    """It did not when they were first needed."""
    keys_at_url.answer = Answer(503)
    keys = RemoteKeys(keys_at_url.url, clock)
    assert await names(keys, "first") == []
    keys_at_url.publish(jwk("ES256", kid="first"))
    assert await names(keys, "first") == []
    clock.now += RETRY_SECONDS
    assert await names(keys, "first") == ["first"]


async def test_without_a_server_there_are_no_keys(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """No process listens at the URL."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert await names(RemoteKeys(f"http://127.0.0.1:{port}/", clock), "first") == []
    assert "CS603" in caplog.text


@pytest.mark.parametrize(
    "location", ["https://localhost/", "http://issuer.example.com/", "http://localhost@issuer.example.com/"]
)
def test_an_unsafe_redirect_is_not_followed(keys_at_url: KeyServer, location: str) -> None:
    """To another scheme, or without TLS to another machine."""
    keys_at_url.answer = Answer(302, b"", {"Location": location})
    with pytest.raises(KeysUnavailable, match="redirects"):
        fetch_text(keys_at_url.url)


def test_no_more_is_read_than_a_jwk_set_may_have(keys_at_url: KeyServer) -> None:
    """The fetch fails."""
    keys_at_url.answer = Answer(200, b" " * (MAX_KEYS_BYTES + 1))
    with pytest.raises(KeysUnavailable, match="more than"):
        fetch_text(keys_at_url.url)


def test_a_redirect_with_the_same_scheme_is_followed(keys_at_url: KeyServer) -> None:
    """On this machine."""
    body = json.dumps({"keys": []}).encode()
    redirect = Answer(307, b"", {"Location": "/moved.json"})
    answers = iter([redirect, Answer(200, body)])
    type(keys_at_url).answer = property(lambda self: next(answers), lambda self, value: None)  # type: ignore[assignment]
    try:
        assert fetch_text(keys_at_url.url) == body
    finally:
        del type(keys_at_url).answer


def test_a_fetch_has_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if the body keeps arriving, byte by byte."""
    monkeypatch.setattr(remote_keys, "TIMEOUT_SECONDS", 0.1)
    has_ended = threading.Event()

    def drip(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection, contextlib.suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while not has_ended.wait(0.01):
                connection.sendall(b" ")

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=drip, args=[server])
        thread.start()
        try:
            with pytest.raises(KeysUnavailable, match="too long"):
                fetch_text(f"http://127.0.0.1:{server.getsockname()[1]}/")
        finally:
            has_ended.set()
            thread.join()


@pytest.mark.parametrize(
    "url", ["https://issuer.example.com/jwks", "http://localhost:8000/", "http://127.0.0.9/", "http://[::1]:80/"]
)
def test_a_url_with_tls_or_on_this_machine_is_safe(url: str) -> None:
    """Its answer cannot be changed on the way."""
    assert is_safe_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "issuer.example.com",
        "http://issuer.example.com/",
        "http://localhost.example.com/",
        "http://127.0.0.1.example.com/",
        "http://localhost@issuer.example.com/",
        "http://0.0.0.0/",
        "file:///etc/passwd",
        "ftp://localhost/",
        "https://",
        "https://[::1",
        "https://issuer.example.com:port/",
    ],
)
def test_no_other_url_is_fetched(url: str) -> None:
    """It is refused before any connection."""
    assert not is_safe_url(url)
    with pytest.raises(KeysUnavailable):
        fetch_text(url)
