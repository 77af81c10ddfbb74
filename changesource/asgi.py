"""The ASGI application of the change source, which a project serves as its own."""

from __future__ import annotations

from typing import Any

from channels.routing import ProtocolTypeRouter

from changesource.api.query_handler import QueryHandler
from changesource.api.zero import QUERY_PATH
from changesource.conf import ChangeSourceSettings, load_settings
from changesource.consumers import ChangeStreamConsumer
from changesource.daphne.hook import take_over_daphne
from changesource.lifespan import lifespan
from changesource.limits.buckets import TokenBuckets
from changesource.limits.gate import Application, Gate, Receive, Scope, path_in_project


def make_application(http_application: Any, settings: ChangeSourceSettings | None = None) -> Gate:
    """An application that serves `http_application`, Django's own, and the change stream, behind
    the gate.

    Django has to be set up, which `django.core.asgi.get_asgi_application` does. `settings` default
    to those in Django's settings. From this call on, Daphne's servers in this process are ours.
    Health checks have their own buckets, so that probes and people cannot use up each other's
    requests. The requests that zero-cache forwards for all its users come from one address, so they are
    not counted: each needs a credential, and without one it is held.
    """
    settings = settings or load_settings()
    take_over_daphne()
    health = TokenBuckets(settings.requests_per_address)
    router = ProtocolTypeRouter(
        {"http": _with_queries(http_application), "websocket": ChangeStreamConsumer.as_asgi(), "lifespan": lifespan}
    )
    machine_paths = {"/healthz": health, "/readyz": health, QUERY_PATH: TokenBuckets(0)}
    return Gate(router, settings, machine_paths)


def _with_queries(http_application: Application) -> Application:
    """`http_application` for everything but named queries."""
    queries = QueryHandler()

    async def answer(scope: Scope, receive: Receive, send: Any) -> None:
        handler = queries if path_in_project(scope) == QUERY_PATH else http_application
        await handler(scope, receive, send)

    return answer
