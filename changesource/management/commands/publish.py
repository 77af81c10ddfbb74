"""`manage.py publish APP`."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from changesource.errors import ChangeSourceError
from changesource.models import App
from changesource.streaming.publisher import publish_app


class Command(BaseCommand):
    help = (
        "Publishes the draft of an app and prints the version number. "
        "A draft that equals the newest version is not stored again: that version's number is printed."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("app", metavar="APP", help="the app id (ZERO_APP_ID)")

    def handle(self, *args: Any, app: str, **options: Any) -> None:
        found = App.objects.find(app)
        if found is None:
            raise CommandError(f"There is no app {app!r}. Create it in admin or by load_schema.")
        try:
            version = publish_app(found)
        except ChangeSourceError as exc:
            raise CommandError(str(exc)) from exc
        self.stdout.write(str(version.number))
