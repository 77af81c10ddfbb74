"""`manage.py preview_table APP TABLE [--limit N] [--json]`."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from changesource.errors import ChangeSourceError
from changesource.management.arguments import document_count, named_app
from changesource.models.draft import draft_definition
from changesource.operations.preview import preview_table
from changesource.publishing.definition_problems import find_warnings
from changesource.trials.preview import find_table

DEFAULT_LIMIT = 10
MAX_LIMIT = 10_000
"""The rows of all documents are held in memory."""


class Command(BaseCommand):
    help = (
        "Shows the rows that the draft of a table makes of the first documents of its collection, as zero-cache would get "
        "them, and what does not fit. Nothing is published or stored."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("app", metavar="APP", help="the app id (ZERO_APP_ID)")
        parser.add_argument("table", metavar="TABLE", help="the table, by its name or its server name")
        parser.add_argument(
            "--limit",
            type=document_count(MAX_LIMIT),
            default=DEFAULT_LIMIT,
            metavar="N",
            help="how many documents, ordered by _id (default: %(default)s)",
        )
        parser.add_argument(
            "--json",
            action="store_true",
            dest="as_json",
            help='print a line {"document", "rows", "errors"} for each document',
        )

    def handle(self, *args: Any, app: str, table: str, limit: int, as_json: bool, **options: Any) -> None:
        try:
            self._show(app, table, limit, as_json=as_json)
        except ChangeSourceError as exc:
            raise CommandError(str(exc)) from exc

    def _show(self, app_id: str, table_name: str, limit: int, *, as_json: bool) -> None:
        app = named_app(app_id)
        shown = preview_table(app, table_name, limit)
        table = find_table(draft_definition(app), table_name)
        for warning in find_warnings(table):
            self.stderr.write(self.style.WARNING(str(warning)))
        if as_json:
            for preview in shown:
                self.stdout.write(json.dumps(preview, ensure_ascii=False))
        else:
            self._show_for_people(table.collection, shown)

    def _show_for_people(self, collection: str, previews: list[dict[str, Any]]) -> None:
        if not previews:
            self.stdout.write(f"The collection {collection} has no documents.")
        for preview in previews:
            self.stdout.write(self.style.MIGRATE_HEADING(f"document {_text(preview['document'])}"))
            for row in preview["rows"]:
                self.stdout.write(f"  row {_text(row)}")
            if not preview["rows"]:
                self.stdout.write("  no row")
            for error in preview["errors"]:
                column = f"{error['column']}: " if error["column"] else ""
                self.stdout.write(self.style.ERROR(f"  row error: {column}{error['reason']}"))


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
