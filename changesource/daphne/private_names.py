"""What this package leans on that Daphne, Autobahn and Twisted promise nobody.

Daphne has no setting for its protocols, for what a signal does, or for what waits for what. So `hook.py` replaces
`Server.__new__`, and the classes here override methods of theirs, or call what only they call. The names are looked at
when the hook is set: a version that has lost one is refused at the start, with the name. What the methods *do* is pinned by
`tests/daphne/test_private_names.py`, which fails when a new version changes the source of one. Read the difference then,
and run the end-to-end tests, before the version is taken.

Of instances, and so only seen by their methods' source: `Server.connections`, `abort_start`, `signal_handlers`, and
`http_factory` and `ws_factory`, which `run` sets and `StreamServer` has properties for; `WebSocketProtocol.state`, `data`,
`trafficStats`, `failedByMe`, `handshake_deferred` and `application_queue`; `HTTPChannel._buffer`, `_handlingRequest`,
`_abortingCall`, `length` and `line_mode`.
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
    """Raises `ImproperlyConfigured` for a version of one of the packages that lacks something."""
    missing = [
        f"{path}.{name}"
        for path, names in PRIVATE_NAMES.items()
        for name in names.split()
        if not hasattr(locate(path), name)
    ]
    if missing:
        raise ImproperlyConfigured(
            f"The installed Daphne, Autobahn or Twisted has no {', '.join(missing)}, without which streams cannot be served "
            "as they must be. Install the versions that requirements.lock names."
        )
