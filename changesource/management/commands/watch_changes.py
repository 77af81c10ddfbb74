"""`manage.py watch_changes`: the change stream into the log."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Collection
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from changesource.conf import load_settings
from changesource.streaming.service import start_service, stop_service


class Command(BaseCommand):
    help = (
        "Tail the change streams of the published apps and fill their logs in Redis, until SIGTERM. "
        "Run two or more for high availability: one leads for each app, the others stand by."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("apps", nargs="*", metavar="APP", help="Apps to watch (default: all).")

    def handle(self, *args: Any, apps: Collection[str], **options: Any) -> None:
        if not load_settings().redis_url:
            raise CommandError(
                "REDIS_URL is not set: manage.py serve watches by itself then. Set it, or run only serve."
            )
        asyncio.run(_watch(apps))


async def _watch(app_ids: Collection[str]) -> None:
    told_to_stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told_to_stop.set)
    await start_service(watch=True, app_ids=app_ids)
    await told_to_stop.wait()
    await stop_service()
