"""`manage.py zero_queries APP [--draft]`."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from changesource.errors import ChangeSourceError
from changesource.management.arguments import named_app
from changesource.operations.query_report import report_on_queries


class Command(BaseCommand):
    help = (
        "Lists the named queries of an app: their arguments, the tables that they read with the number of rules that are put "
        "in, and which of them clients have to write themselves."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("app", metavar="APP", help="the app id (ZERO_APP_ID)")
        parser.add_argument("--draft", action="store_true", help="over the draft (default: over the version in force)")

    def handle(self, *args: Any, app: str, draft: bool, **options: Any) -> None:
        try:
            reports = report_on_queries(named_app(app), draft=draft)
        except ChangeSourceError as exc:
            raise CommandError(str(exc)) from exc
        for report in reports:
            for line in report.lines():
                self.stdout.write(line)
        if not reports:
            self.stderr.write(f"{app} has no named queries.")
