"""`manage.py zero_env APP [--url URL]`."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from changesource.conf import load_settings
from changesource.management.arguments import named_app
from changesource.operations.zero_environment import InvalidUrl, zero_environment

LOCAL_URL = "http://localhost:8000"


class Command(BaseCommand):
    help = "Prints the environment variables of zero-cache for an app, as NAME=value. No secret is among them."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("app", metavar="APP", help="the app id (ZERO_APP_ID)")
        parser.add_argument(
            "--url",
            help=f"the URL at which zero-cache reaches this service (default: {LOCAL_URL} with ROOT_PATH)",
        )

    def handle(self, *args: Any, app: str, url: str | None, **options: Any) -> None:
        found = named_app(app)
        try:
            for line in zero_environment(found.app_id, url or f"{LOCAL_URL}{load_settings().root_path}"):
                self.stdout.write(line)
        except InvalidUrl as exc:
            raise CommandError(str(exc)) from exc
