"""`manage.py serve`: HTTP and WebSockets, by Daphne as this project needs it."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from twisted.internet.endpoints import quoteStringArgument


class Command(BaseCommand):
    help = (
        "Serve admin, API and the change stream until SIGTERM. Without REDIS_URL it watches MongoDB as well; "
        "with it, run manage.py watch_changes beside any number of these."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="Address to listen on (default 127.0.0.1).")
        parser.add_argument("--port", type=int, default=8000, help="TCP port (default 8000).")

    def handle(self, *args: Any, host: str, port: int, **options: Any) -> None:
        from changesource.conf import load_settings
        from changesource.server import StreamServer  # installs Twisted's reactor
        from changesource.streaming.service import start_service, stop_service
        from zerosources.asgi import application

        settings = load_settings()

        async def start() -> None:
            await start_service(watch=not settings.redis_url)

        server = StreamServer(
            application,
            endpoints=[f"tcp:port={port}:interface={quoteStringArgument(host)}"],
            on_start=start,
            on_stop=stop_service,
            settings=settings,
            server_name="zero-sources",
        )
        server.run()
        if server.failure:
            raise CommandError(server.failure)
