"""`manage.py watch_changes`: copies change streams into logs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Sequence
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as DatabaseError

from changesource.conf import load_settings
from changesource.errors import LogUnavailable
from changesource.operations.leadership import WatchedApp, watched_apps
from changesource.service import begin_service, stop_service
from changesource.stopping import call_when_told, end_when_told, fail_when_told

HEADINGS = ("app", "leader", "lease left", "standbys", "log until", "age")


class Command(BaseCommand):
    help = (
        "Copies the change streams of the published apps into their logs in Redis, until SIGTERM. "
        "Run two or more for high availability: one leads for each app, the others stand by. "
        "With --status, shows which process leads, and ends."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("apps", nargs="*", metavar="APP", help="Apps to watch (default: all).")
        parser.add_argument(
            "--status",
            action="store_true",
            help="Show which process leads for each app, and how far its log has come. Exit status 1 without a leader.",
        )
        parser.add_argument("--json", action="store_true", dest="as_json", help="With --status: print one JSON array.")

    def handle(self, *args: Any, apps: Collection[str], status: bool, as_json: bool, **options: Any) -> None:
        redis_url = load_settings().redis_url
        if not redis_url:
            raise CommandError(
                "REDIS_URL is not set, so manage.py serve watches by itself. Set REDIS_URL, or run only serve."
            )
        if as_json and not status:
            raise CommandError("--json needs --status. Add it.")
        if status:
            fail_when_told()
            self._show_status(redis_url, apps, as_json=as_json)
            return
        end_when_told()
        asyncio.run(_watch(apps))

    def _show_status(self, redis_url: str, app_ids: Collection[str], *, as_json: bool) -> None:
        try:
            found = asyncio.run(watched_apps(redis_url, app_ids))
        except LogUnavailable as error:
            raise CommandError(f"{error} No process can lead without it. Check REDIS_URL and Redis.") from error
        except DatabaseError as error:
            raise CommandError(f"The Django database failed ({type(error).__name__}).") from error
        if as_json:
            self.stdout.write(json.dumps([app.to_json() for app in found], indent=2))
        elif found:
            self.stdout.write(_table([HEADINGS, *map(_row, found)]))
        else:
            self.stdout.write("No app is published.")
        if unpublished := sorted(set(app_ids) - {app.app for app in found}):
            raise CommandError(f"Not published: {', '.join(unpublished)}.")
        if leaderless := [app.app for app in found if app.leader is None]:
            raise CommandError(f"No process watches {', '.join(leaderless)}. Run manage.py watch_changes.")


def _row(app: WatchedApp) -> tuple[str, ...]:
    return (
        app.app,
        app.leader or "none",
        f"{app.lease_seconds_left:.1f} s" if app.leader else "–",
        str(app.standbys),
        app.tail or "empty",
        "–" if app.tail_age_seconds is None else f"{app.tail_age_seconds:.0f} s",
    )


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


async def _watch(app_ids: Collection[str]) -> None:
    told_to_stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def tell() -> None:
        loop.call_soon_threadsafe(told_to_stop.set)

    call_when_told(tell)
    told: asyncio.Future[Any] = asyncio.ensure_future(told_to_stop.wait())
    started: asyncio.Future[Any] = begin_service(watch=True, app_ids=app_ids)
    await asyncio.wait([told, started], return_when=asyncio.FIRST_COMPLETED)
    if started.done():
        started.result()  # raises what prevented it from starting
    await told
    await stop_service()
