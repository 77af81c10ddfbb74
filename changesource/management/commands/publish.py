"""`manage.py publish APP [--reset]`."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from changesource.errors import ChangeSourceError
from changesource.management.arguments import named_app
from changesource.operations.publisher import publish_app
from changesource.publishing.review import Review


class Command(BaseCommand):
    help = (
        "Publishes the draft of an app into its running streams and prints the version number. "
        "A draft that equals the newest version is not stored again: that version's number is printed. "
        "Clients that lose a table, or do not see a new one, and collections that do not exist are listed on stderr."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("app", metavar="APP", help="the app id (ZERO_APP_ID)")
        parser.add_argument(
            "--reset",
            action="store_true",
            help="make every zero-cache of the app build a new replica: for a read-only source, or to start over on "
            "purpose. The draft is then stored even if it equals the newest version",
        )

    def handle(self, *args: Any, app: str, reset: bool, **options: Any) -> None:
        found = named_app(app)
        review = Review(found)
        before, cut_off = review.newest, review.cut_off
        try:
            version = publish_app(found, resets=reset, warn=self.stderr.write)
        except ChangeSourceError as exc:
            raise CommandError(str(exc)) from exc
        if version != before:
            for each in cut_off:
                self.stderr.write(str(each))
        self.stdout.write(str(version.number))
