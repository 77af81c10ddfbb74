"""private_names.py: what Daphne, Autobahn and Twisted may change without notice.

`test_the_source_of_each_method_is_the_one_that_was_reviewed` fails when a new version changes a method that this project
relies on. Read the change, check that the classes in `changesource/daphne/` still do what they promise, and run `tests/e2e/`.
Then copy the digests that the failure shows.
"""

import hashlib
import inspect
from pydoc import locate

import pytest
from django.core.exceptions import ImproperlyConfigured

from changesource.daphne import http_channel, private_names, server, stream_protocol
from changesource.daphne.private_names import PRIVATE_NAMES, check_private_names

DIGESTS = {
    "daphne.server.Server": "0b6ef0062bfa5b33",
    "daphne.cli.CommandLineInterface": "039cb21244f402ac",
    "daphne.http_protocol.HTTPFactory": "d0eb2bd9eed5d6f3",
    "daphne.http_protocol.WebRequest": "07c6c094d2f951c0",
    "daphne.ws_protocol.WebSocketFactory": "5f4903a9d804e86c",
    "daphne.ws_protocol.WebSocketProtocol": "822165ac6d283df9",
    "autobahn.twisted.websocket.WebSocketAdapterProtocol": "73b526ba3600d734",
    "autobahn.websocket.protocol.WebSocketServerProtocol": "1c2a4ee7f45d7cfe",
    "autobahn.websocket.protocol.WebSocketProtocol": "605a3b3b712d5f81",
    "twisted.web.http.HTTPChannel": "fb1160765a6c1e86",
    "twisted.web.http.Request": "2d3f7dbd28d0ce02",
}
OUR_CLASSES = [
    server.StreamServer,
    stream_protocol.StreamProtocol,
    http_channel.BoundedRequest,
    http_channel.BoundedHTTPChannel,
    http_channel.BoundedHTTPFactory,
]
PACKAGES = ("daphne.", "autobahn.", "twisted.")


def digest_of(path: str, names: str) -> str:
    sources = [inspect.getsource(getattr(locate(path), name)) for name in names.split()]
    return hashlib.sha256("".join(sources).encode()).hexdigest()[:16]


def test_the_source_of_each_method_is_the_one_that_was_reviewed() -> None:
    """Its digest is the same."""
    assert {path: digest_of(path, names) for path, names in PRIVATE_NAMES.items()} == DIGESTS


def test_all_are_there() -> None:
    check_private_names()


def test_a_missing_name_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to do."""
    monkeypatch.setitem(private_names.PRIVATE_NAMES, "daphne.server.Server", "run serve_for_ever")
    monkeypatch.setitem(private_names.PRIVATE_NAMES, "daphne.nowhere.Class", "method")
    with pytest.raises(
        ImproperlyConfigured, match=r"no daphne\.server\.Server\.serve_for_ever, daphne\.nowhere\.Class\.method,"
    ):
        check_private_names()


def test_every_overridden_method_is_listed() -> None:
    """Of all classes that ours derive from."""
    for ours in OUR_CLASSES:
        for name in [name for name, value in vars(ours).items() if inspect.isroutine(value)]:
            for base in ours.__mro__[1:]:
                if name in vars(base) and base.__module__.startswith(PACKAGES):
                    assert name in PRIVATE_NAMES.get(f"{base.__module__}.{base.__qualname__}", "").split(), (base, name)
                    break
