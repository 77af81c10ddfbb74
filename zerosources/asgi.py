"""The ASGI application: Django for HTTP, the change stream for WebSockets, and the gate in front of both."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "zerosources.settings")
http_application = get_asgi_application()

from changesource.asgi import make_application  # noqa: E402 (models load after Django is set up)

application = make_application(http_application)
