"""`manage.py check_source`: whether a source can be used, and what can be promised of the collections that are published."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as DatabaseError

from changesource.errors import ChangeSourceError
from changesource.models import App
from changesource.mongo.pre_images import collections_without_pre_images, enabling_command
from changesource.mongo.source import Database, SourceReport, inspect_source
from changesource.publishing.compiled import CompiledVersion
from changesource.publishing.versions import newest_version
from changesource.streaming.source_calls import ask_source

EXACT = "exact (post-images recorded)"
LATEST = "latest state (no post-images)"


class Command(BaseCommand):
    help = (
        "Check that a source is reachable, a replica set or sharded cluster, and recent enough, and that the collections of "
        "its published apps record the pre-images that their tables need. Exit status 0 if so."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("source", nargs="?", default="default", help="Name of the source (default: default).")

    def handle(self, *args: Any, source: str, **options: Any) -> None:
        versions = self._published(source)
        try:
            report, unrecorded = ask_source(source, lambda database: _inspect(database, versions))
        except ChangeSourceError as error:
            raise CommandError(f"Source {source}: {error}") from error
        number = ".".join(map(str, report.version))
        self.stdout.write(f"Source {source}: usable. MongoDB {number}, {report.topology}.")
        for version in versions:
            for collection in version.tables_of_collection:
                guarantee = LATEST if collection in unrecorded else EXACT
                self.stdout.write(f"App {version.app_id}, collection {collection}: {guarantee}.")
        if missing := [line for version in versions for line in _missing_pre_images(version, unrecorded)]:
            raise CommandError("\n".join(missing))

    def _published(self, source: str) -> list[CompiledVersion]:
        try:
            newest = [newest_version(app) for app in App.objects.all()]
        except DatabaseError as error:
            self.stderr.write(f"What is published is not known: the Django database failed ({type(error).__name__}).")
            return []
        versions = [
            CompiledVersion(version.to_definition(), version.number) for version in newest if version is not None
        ]
        return [version for version in versions if version.source == source]


async def _inspect(database: Database, versions: Sequence[CompiledVersion]) -> tuple[SourceReport, list[str]]:
    report = await inspect_source(database)
    collections = [collection for version in versions for collection in version.tables_of_collection]
    return report, await collections_without_pre_images(database, collections) if collections else []


def _missing_pre_images(version: CompiledVersion, unrecorded: Sequence[str]) -> list[str]:
    return [
        f"App {version.app_id}: {collection} records no pre-images, which its tables "
        f"{', '.join(table.table.name for table in tables if table.table.needs_pre_images)} need: they are loaded again with "
        f"each change. Run {enabling_command(collection)}"
        for collection, tables in version.tables_of_collection.items()
        if collection in version.collections_with_pre_images and collection in unrecorded
    ]
