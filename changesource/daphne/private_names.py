"""The names in Daphne, Autobahn and Twisted that this package relies on and that are not part of
their public interface.

Daphne has no settings for its protocols, for what a signal does, or for the order of startup and
shutdown. So `hook.py` replaces `Server.__new__`, and the classes here override or call internal
methods. The names are checked when the hook is set: a version that lacks one is refused at startup,
with the name. What the methods *do* is pinned by `tests/daphne/test_private_names.py`, which fails
when a new version changes the source of one. Then read the difference and run the end-to-end tests
before you adopt the version.

These attributes belong to instances, so only the source of the methods covers them:
`Server.connections`, `abort_start`, `signal_handlers`, and `http_factory` and `ws_factory`, which
`run` sets and for which `StreamServer` has properties; `WebSocketProtocol.state`, `data`,
`trafficStats`, `failedByMe`, `handshake_deferred` and `application_queue`; `HTTPChannel._buffer`,
`_handlingRequest`, `_abortingCall`, `length` and `line_mode`.
"""

from __future__ import annotations

from pydoc import locate

from django.core.exceptions import ImproperlyConfigured

PRIVATE_NAMES = {
    "daphne.server.Server": (
        "__init__ run stop listen_success listen_error create_application handle_reply kill_all_applications log_action "
        "protocol_disconnected application_checker timeout_checker"
    ),
    "daphne.cli.CommandLineInterface": "run",
    "daphne.http_protocol.HTTPFactory": "__init__ buildProtocol acceptableProtocols",
    "daphne.http_protocol.WebRequest": "__init__ process",
    "daphne.ws_protocol.WebSocketFactory": "__init__ buildProtocol",
    "daphne.ws_protocol.WebSocketProtocol": (
        "onConnect onOpen onMessage onClose handle_reply handle_exception serverAccept serverReject check_timeouts"
    ),
    "autobahn.twisted.websocket.WebSocketAdapterProtocol": "connectionMade connectionLost dataReceived",
    "autobahn.websocket.protocol.WebSocketServerProtocol": "processHandshake sendHttpErrorResponse",
    "autobahn.websocket.protocol.WebSocketProtocol": (
        "_connectionMade _connectionLost _dataReceived consumeData processData _fail_connection _max_message_size_exceeded "
        "dropConnection sendCloseFrame sendMessage onPing"
    ),
    "twisted.web.http.HTTPChannel": (
        "connectionMade dataReceived requestDone headerReceived allHeadersReceived rawDataReceived allContentReceived "
        "loseConnection connectionLost forceAbortClient _respondToBadRequestAndDisconnect"
    ),
    "twisted.web.http.Request": "__init__",
}
"""Class → its methods."""


def check_private_names() -> None:
    """Raises `ImproperlyConfigured` if the installed version of a package lacks one of the
    names."""
    missing = [
        f"{path}.{name}"
        for path, names in PRIVATE_NAMES.items()
        for name in names.split()
        if not hasattr(locate(path), name)
    ]
    if missing:
        raise ImproperlyConfigured(
            f"The installed Daphne, Autobahn or Twisted has no {', '.join(missing)}, which streams cannot be served without. "
            "Install the versions that requirements.lock names."
        )
