"""The ASGI application: Django for HTTP, the change stream for WebSockets."""

import os

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import path, re_path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "zerosources.settings")
http_application = get_asgi_application()

from changesource.consumers import ChangeStreamConsumer, UnknownPathConsumer  # noqa: E402 (models load after Django is set up)

application = ProtocolTypeRouter(
    {
        "http": http_application,
        "websocket": URLRouter(
            [
                path("changes/v0/stream", ChangeStreamConsumer.as_asgi()),
                re_path("", UnknownPathConsumer.as_asgi()),
            ]
        ),
    }
)
