"""`manage.py check_source`: whether a source can be used."""

from __future__ import annotations

import asyncio
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from changesource.conf import load_settings
from changesource.errors import ChangeSourceError
from changesource.mongo.source import SourceReport, Sources, inspect_source


class Command(BaseCommand):
    help = "Check that a source is reachable, a replica set or sharded cluster, and recent enough. Exit status 0 if so."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("source", nargs="?", default="default", help="Name of the source (default: default).")

    def handle(self, *args: Any, source: str, **options: Any) -> None:
        try:
            report = asyncio.run(_inspect(source))
        except ChangeSourceError as error:
            raise CommandError(f"Source {source}: {error}") from error
        version = ".".join(map(str, report.version))
        self.stdout.write(f"Source {source}: usable. MongoDB {version}, {report.topology}.")


async def _inspect(source: str) -> SourceReport:
    sources = Sources(load_settings().sources)
    try:
        return await inspect_source(sources.database(source))
    finally:
        await sources.close()
