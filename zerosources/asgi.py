"""The ASGI application: Django for HTTP, the change stream for WebSockets, and the gate in front of both."""

import os

from channels.routing import ProtocolTypeRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "zerosources.settings")
http_application = get_asgi_application()

# Models load after Django is set up.
from changesource.conf import ChangeSourceSettings, load_settings  # noqa: E402
from changesource.consumers import ChangeStreamConsumer  # noqa: E402
from changesource.limits.buckets import TokenBuckets  # noqa: E402
from changesource.limits.gate import Gate  # noqa: E402


def make_application(settings: ChangeSourceSettings) -> Gate:
    """What a server serves. Health has buckets of its own: neither do probes starve people, nor people probes."""
    health = TokenBuckets(settings.requests_per_address)
    router = ProtocolTypeRouter({"http": http_application, "websocket": ChangeStreamConsumer.as_asgi()})
    return Gate(router, settings, machine_paths={"/healthz": health, "/readyz": health})


application = make_application(load_settings())
