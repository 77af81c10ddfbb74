"""`manage.py check_source`: what a source offers, and what the apps that are published from it
still need."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as DatabaseError

from changesource.mongo.source_checks.results import CheckResult, PublishedCollection
from changesource.operations.source_report import SourceCheck, check_source, published_collections

STATUS_WIDTH = 9


class Command(BaseCommand):
    help = (
        "Checks a source: topology, version, privileges, change stream, pre- and post-images of published collections, oplog "
        "window, clock. Changes nothing. The exit status is 1 if there is an error, and 0 otherwise, even with warnings."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("source", nargs="?", default="default", help="Name of the source (default: default).")
        parser.add_argument("--json", action="store_true", dest="as_json", help="Print one JSON object.")

    def handle(self, *args: Any, source: str, as_json: bool, **options: Any) -> None:
        check = check_source(source, self._published(source))
        if as_json:
            self.stdout.write(json.dumps(check.to_json(), ensure_ascii=False, indent=2))
        else:
            self._write(check)
        if check.status == "error":
            raise CommandError(f"Source {source}: {check.summary}.")

    def _published(self, source: str) -> list[PublishedCollection]:
        try:
            return published_collections(source)
        except DatabaseError as error:
            self.stderr.write(
                f"It is not known what is published: the Django database failed ({type(error).__name__})."
            )
            return []

    def _write(self, check: SourceCheck) -> None:
        self.stdout.write(f"Source {check.source}: {check.summary}.")
        for result in check.results:
            self.stdout.write(f"{self._styled(result)}{result.name}: {result.text}")
            if result.remedy:
                self.stdout.write(f"{'':{STATUS_WIDTH}}→ {result.remedy}")

    def _styled(self, result: CheckResult) -> str:
        text = f"{result.status:{STATUS_WIDTH}}"
        if result.status == "error":
            return self.style.ERROR(text)
        return self.style.WARNING(text) if result.status == "warning" else text
