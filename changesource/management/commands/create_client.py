"""`manage.py create_client NAME --app APP [--app APP …]`."""

from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from changesource.management.arguments import named_app
from changesource.models import Client, Credential


class Command(BaseCommand):
    help = "Creates a client and prints its token on the last line. The token cannot be read again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", metavar="NAME", help="the name of the client in admin; unique")
        parser.add_argument(
            "--app",
            action="append",
            required=True,
            dest="apps",
            metavar="APP",
            help="an app that it may read; may be repeated",
        )

    def handle(self, *args: Any, name: str, apps: list[str], **options: Any) -> None:
        try:
            with transaction.atomic():
                client = Client.objects.create_for_apps(name, [named_app(app_id) for app_id in dict.fromkeys(apps)])
                _, token = Credential.objects.issue(client)
        except ValidationError as exc:
            raise CommandError(" ".join(exc.messages)) from exc
        self.stdout.write(token)
