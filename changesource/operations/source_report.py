"""The checks of a source, together with what is published from it: for commands, system checks and
admin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from changesource.errors import ChangeSourceError
from changesource.models import App, Version
from changesource.mongo.source_checks.checking import check_database, failed
from changesource.mongo.source_checks.results import CheckResult, PublishedCollection, Status, worst_status
from changesource.operations.ask_source import ask_source
from changesource.publishing.compiled import CompiledVersion
from changesource.publishing.release import Release


@dataclass(frozen=True, slots=True)
class SourceCheck:
    """The results of checking `source`."""

    source: str
    results: Sequence[CheckResult]

    @property
    def status(self) -> Status:
        return worst_status(self.results)

    def of(self, status: Status) -> list[CheckResult]:
        return [result for result in self.results if result.status == status]

    @property
    def summary(self) -> str:
        """Whether the source can be used, and how many errors and warnings there are, in a few
        words."""
        counts = {status: len(self.of(status)) for status in ("error", "warning")}
        found = [f"{count} {status}{'' if count == 1 else 's'}" for status, count in counts.items() if count]
        verdict = "cannot be used as it is" if counts["error"] else "usable"
        return ", ".join([verdict, *found])

    def to_json(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "status": self.status,
            "checks": [result.to_json() for result in self.results],
        }


def check_source(source: str, collections: Sequence[PublishedCollection]) -> SourceCheck:
    """Takes up to `ASK_SECONDS`. Anything that is wrong is a result, not an exception."""
    try:
        results = ask_source(source, lambda database: check_database(database, collections))
    except ChangeSourceError as error:
        results = [failed("server", error)]
    return SourceCheck(source, results)


def published_collections(source: str, apps: Sequence[App] | None = None) -> list[PublishedCollection]:
    """What the published versions of `apps`, by default of all apps, read from `source`. Raises
    `django.db.Error`."""
    collections = []
    for app in App.objects.all() if apps is None else apps:
        newest = Version.objects.newest(app)
        if newest is not None and newest.definition["source"] == source:
            collections += _collections_of(Release.of_version(newest).compiled)
    return collections


def _collections_of(version: CompiledVersion) -> list[PublishedCollection]:
    return [
        PublishedCollection(
            version.app_id,
            collection,
            tables=[table.table.name for table in tables],
            unwinding=[table.table.name for table in tables if table.table.needs_pre_images],
        )
        for collection, tables in version.tables_of_collection.items()
    ]
