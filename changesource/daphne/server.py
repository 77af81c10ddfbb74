"""Daphne's server for streams: with our protocols, limits from the project's settings, the service
of the process, and a graceful shutdown."""

from __future__ import annotations

import asyncio
import logging
from inspect import signature
from typing import Any

from autobahn.websocket.compress import PerMessageDeflateOffer, PerMessageDeflateOfferAccept
from daphne.http_protocol import HTTPFactory
from daphne.server import Server
from daphne.ws_protocol import WebSocketFactory
from twisted.internet.defer import Deferred, maybeDeferred

from changesource.asgi_extensions import DENIAL_RESPONSE, SEND_FRAMES
from changesource.conf import load_settings
from changesource.daphne.http_channel import BoundedHTTPFactory
from changesource.daphne.stream_protocol import StreamProtocol
from changesource.service import begin_service, stop_service
from changesource.stopping import call_when_told, end_when_told

logger = logging.getLogger(__name__)

PING_SECONDS = 30
CONNECT_SECONDS = 20
"""How long the application may take to answer a handshake. Refusals are held for a while."""
CLOSE_SECONDS = 2.0
"""How long a client may take to read what was sent before the close of its stream, and to answer
the close."""


class StreamServer(Server):
    """Starts the service of the process before it serves, and stops it when it is told to stop.

    The project's settings override Daphne's own options, whose defaults drop streams and trust
    headers.
    """

    signal_handlers: bool

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.settings = settings = load_settings()
        self._take_over(
            websocket_timeout=-1,
            ping_interval=PING_SECONDS,
            ping_timeout=settings.stall_seconds,
            websocket_handshake_timeout=settings.handshake_seconds,
            websocket_max_message_size=settings.max_upstream_bytes,
            websocket_max_frame_size=settings.max_upstream_bytes,
            proxy_forwarded_address_header=None,
            proxy_forwarded_port_header=None,
            proxy_forwarded_proto_header=None,
        )
        self.websocket_connect_timeout = CONNECT_SECONDS
        self._ports: list[Any] = []
        self._is_stopping = False
        self.failure = ""
        """Why the server could not start; empty if it did."""

    def _take_over(self, **ours: Any) -> None:
        """Sets the options in `ours`, and logs those that were set to something else."""
        defaults = signature(Server.__init__).parameters
        in_vain = [name for name in ours if getattr(self, name) != defaults[name].default]
        if in_vain:
            logger.warning(
                "options of Daphne that have no effect here, because the project's settings override them: %s "
                "(docs/operations.md#asgi-servers)",
                ", ".join(in_vain),
            )
        for name, value in ours.items():
            setattr(self, name, value)

    @property
    def ws_factory(self) -> WebSocketFactory:
        return self._ws_factory

    @ws_factory.setter
    def ws_factory(self, factory: WebSocketFactory) -> None:
        """Daphne creates its factory within `run`, and sets it here, where it can be given our
        protocol."""
        factory.protocol = StreamProtocol
        factory.setProtocolOptions(closeHandshakeTimeout=CLOSE_SECONDS)
        if self.settings.deflate:
            factory.setProtocolOptions(perMessageCompressionAccept=_accept_deflate)
        self._ws_factory = factory

    @property
    def http_factory(self) -> BoundedHTTPFactory:
        return self._http_factory

    @http_factory.setter
    def http_factory(self, factory: HTTPFactory) -> None:
        """Likewise replaces `factory` with one whose requests are bounded. Behind a proxy all
        connections have the proxy's address, so they are not limited by address."""
        connections = 0 if self.settings.proxy_headers else self.settings.connections_per_address
        self._http_factory = BoundedHTTPFactory(self, self.settings.handshake_seconds, connections)

    def run(self) -> None:
        from twisted.internet import reactor

        if self.signal_handlers:
            self.signal_handlers = False  # Twisted's raise an error at a second signal
            end_when_told()
            call_when_told(self.stop_soon)
        reactor.callWhenRunning(self._start)
        super().run()

    def _start(self) -> None:
        begin_service(watch=not self.settings.redis_url).add_done_callback(self._look_at_start)

    def _look_at_start(self, started: asyncio.Future[Any]) -> None:
        if not started.cancelled() and (error := started.exception()) is not None:
            logger.critical("the server could not start", exc_info=error)
            self._fail(f"The server could not start ({type(error).__name__}).")

    def _fail(self, failure: str) -> None:
        self.failure = failure
        self.abort_start = True  # gives Daphne's command its exit status
        self.stop()

    def stop(self) -> None:
        """Stops serving. A second call changes nothing."""
        if not self._is_stopping:
            self._is_stopping = True
            super().stop()

    def stop_soon(self) -> None:
        """`stop` for signal handlers and other threads, even before `run`."""
        from twisted.internet import reactor

        reactor.callFromThread(self.stop)

    def listen_success(self, port: Any) -> None:
        self._ports.append(port)
        super().listen_success(port)

    def listen_error(self, failure: Any) -> None:
        logger.critical("the server could not listen: %s", failure.getErrorMessage())
        self._fail(failure.getErrorMessage())

    def log_action(self, protocol: Any, action: str, details: dict[str, Any]) -> None:
        """Logs as Daphne does, but without the query, which may hold a token."""
        path = str(details["path"]).partition("?")[0]
        super().log_action(protocol, action, {**details, "path": path})

    def create_application(self, protocol: Any, scope: dict[str, Any]) -> Any:
        if scope["type"] == "websocket":
            scope.setdefault("extensions", {}).update({SEND_FRAMES: {}, DENIAL_RESPONSE: {}})
        return super().create_application(protocol, scope)

    async def handle_reply(self, protocol: Any, message: dict[str, Any]) -> None:
        if not isinstance(protocol, StreamProtocol):
            await super().handle_reply(protocol, message)
            return
        details = self.connections.get(protocol)
        if details is not None and not details.get("disconnected"):
            await protocol.handle_reply_and_drain(message)

    def kill_all_applications(self) -> Deferred[Any]:
        return Deferred.fromFuture(asyncio.ensure_future(self._stop_all()))

    async def _stop_all(self) -> None:
        """Stops listening, closes streams in order, then cancels the rest. Twisted waits for this
        before it stops. Listening ends first because clients come back as soon as their stream is
        closed."""
        for port in self._ports:
            await maybeDeferred(port.stopListening).asFuture(asyncio.get_running_loop())
        await stop_service()
        deadline = asyncio.get_running_loop().time() + CLOSE_SECONDS
        while self._open_websockets() and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.02)
        running = [
            details["application_instance"]
            for details in self.connections.values()
            if "application_instance" in details and not details["application_instance"].done()
        ]
        for application in running:
            application.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _open_websockets(self) -> int:
        return sum(
            1
            for protocol, details in self.connections.items()
            if isinstance(protocol, StreamProtocol) and not details.get("disconnected")
        )


def _accept_deflate(offers: list[Any]) -> PerMessageDeflateOfferAccept | None:
    for offer in offers:
        if isinstance(offer, PerMessageDeflateOffer):
            return PerMessageDeflateOfferAccept(offer)
    return None
