"""`manage.py load_schema FILE [--mappings FILE] [--permissions FILE] [--publications FILE]
[--queries FILE] --app APP [--source SOURCE] [--publish]`."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from changesource.conf import DEFAULT_SOURCE
from changesource.errors import ChangeSourceError
from changesource.models import Version
from changesource.operations.publisher import finish_publish, prepare_publish, when_free
from changesource.publishing.definition_problems import find_warnings
from changesource.publishing.drafts import replace_draft
from changesource.publishing.mapping_file import apply_mappings
from changesource.publishing.permission_file import apply_permissions
from changesource.publishing.publication_file import apply_publications
from changesource.publishing.query_file import apply_queries
from changesource.publishing.schema_file import Schema, read_schema


class Command(BaseCommand):
    help = "Replaces the draft of an app with a schema in Zero's JSON form. If the schema is refused, nothing changes."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", metavar="FILE", type=Path, help="the schema, JSON in UTF-8")
        parser.add_argument(
            "--mappings", metavar="FILE", type=Path, help="which collection each table shows, and how, JSON in UTF-8"
        )
        parser.add_argument(
            "--permissions", metavar="FILE", type=Path, help="who may see which rows of each table, JSON in UTF-8"
        )
        parser.add_argument(
            "--publications",
            metavar="FILE",
            type=Path,
            help="groups of tables that a zero-cache can ask for, JSON in UTF-8 (default: those that the app has)",
        )
        parser.add_argument(
            "--queries",
            metavar="FILE",
            type=Path,
            help="named queries, JSON in UTF-8 (default: those that the app has)",
        )
        parser.add_argument(
            "--app", required=True, help="the app id (ZERO_APP_ID); the app is created if it does not exist"
        )
        parser.add_argument(
            "--source",
            default="",
            help=f"the source that the app reads (default: the one that the app has; {DEFAULT_SOURCE} for a new app)",
        )
        parser.add_argument("--publish", action="store_true", help="publish the draft and print the version number")

    def handle(
        self,
        *args: Any,
        file: Path,
        mappings: Path | None,
        permissions: Path | None,
        publications: Path | None,
        queries: Path | None,
        app: str,
        source: str,
        publish: bool,
        **options: Any,
    ) -> None:
        try:
            schema = _read(file, mappings, permissions, publications, queries)
            self._load(schema, app, source, then_publish=publish)
        except OSError as exc:
            raise CommandError(f"{exc.filename} cannot be read: {exc.strerror}.") from exc
        except ChangeSourceError as exc:
            raise CommandError(str(exc)) from exc

    def _load(self, schema: Schema, app_id: str, source: str, *, then_publish: bool) -> None:
        for warning in (warning for table in schema.tables for warning in find_warnings(table)):
            self._warn(str(warning))
        if then_publish:
            version = finish_publish(when_free(lambda: self._replace_and_prepare(app_id, schema, source)))
            self.stdout.write(str(version.number))
        else:
            replace_draft(app_id, schema, source)

    @transaction.atomic
    def _replace_and_prepare(self, app_id: str, schema: Schema, source: str) -> Version:
        return prepare_publish(replace_draft(app_id, schema, source), warn=self._warn)

    def _warn(self, text: str) -> None:
        self.stderr.write(self.style.WARNING(text))


def _read(file: Path, *others: Path | None) -> Schema:
    """The schema in `file` with what is in files of mappings, permissions, publications and queries, in this order."""
    schema = read_schema(file.read_bytes())
    for path, apply in zip(others, (apply_mappings, apply_permissions, apply_publications, apply_queries), strict=True):
        if path is not None:
            schema = apply(schema, path.read_bytes())
    return schema
