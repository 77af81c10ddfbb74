"""`manage.py export_schema APP --format FORMAT [--version N | --draft] [--[no-]legacy-queries] [--output FILE]`."""

from argparse import BooleanOptionalAction
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from changesource.errors import ChangeSourceError
from changesource.management.arguments import named_app
from changesource.publishing.exported import ExportedFile, export_draft, export_version
from changesource.publishing.exports import EXPORT_FORMATS


class Command(BaseCommand):
    help = "Writes the schema of an app with its named queries, or its permissions, in a format that others read."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        # Replaces Django's own --version, which prints the version of Django.
        return super().create_parser(prog_name, subcommand, conflict_handler="resolve", **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("app", metavar="APP", help="the app id (ZERO_APP_ID)")
        parser.add_argument(
            "--format",
            required=True,
            choices=list(EXPORT_FORMATS),
            dest="format_name",
            help="; ".join(f"{export_format.name}: {export_format.title}" for export_format in EXPORT_FORMATS.values()),
        )
        state = parser.add_mutually_exclusive_group()
        state.add_argument(
            "--version", type=int, metavar="N", dest="number", help="a published version (default: the one in force)"
        )
        state.add_argument("--draft", action="store_true", help="the draft as it is now")
        parser.add_argument(
            "--legacy-queries",
            action=BooleanOptionalAction,
            help="whether clients may define queries themselves (enableLegacyQueries). Default: if the app has no named "
            "queries, so that its clients work as before.",
        )
        parser.add_argument("--output", type=Path, metavar="FILE", help="where to write it (default: stdout)")

    def handle(
        self,
        *args: Any,
        app: str,
        format_name: str,
        number: int | None,
        draft: bool,
        legacy_queries: bool | None,
        output: Path | None,
        **options: Any,
    ) -> None:
        try:
            exported = self._export(app, format_name, number, draft=draft, legacy_queries=legacy_queries)
        except ChangeSourceError as exc:
            raise CommandError(str(exc)) from exc
        if output is None:
            self.stdout.write(exported.text, ending="")
            return
        try:
            output.write_text(exported.text, encoding="utf-8")
        except OSError as exc:
            raise CommandError(f"{output} cannot be written: {exc.strerror}.") from exc

    def _export(
        self, app_id: str, format_name: str, number: int | None, *, draft: bool, legacy_queries: bool | None
    ) -> ExportedFile:
        app = named_app(app_id)
        export_format = EXPORT_FORMATS[format_name]
        if draft:
            return export_draft(app, export_format, legacy_queries=legacy_queries)
        return export_version(app, export_format, number, legacy_queries=legacy_queries)
