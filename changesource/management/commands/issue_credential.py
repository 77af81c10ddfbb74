"""`manage.py issue_credential CLIENT [--label TEXT] [--expires WHEN]`."""

from datetime import datetime, time
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from changesource.management.arguments import named_client
from changesource.models import Credential


class Command(BaseCommand):
    help = (
        "Issues another credential for a client and prints its token on the last line. The token cannot be read again. The "
        "client's other credentials stay valid."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("client", metavar="CLIENT", help="the client's name")
        parser.add_argument("--label", default="", metavar="TEXT", help="a note on where the token is used")
        parser.add_argument(
            "--expires",
            metavar="WHEN",
            help="when it expires: 2027-01-31, or 2027-01-31T12:00+01:00; without an offset, in TIME_ZONE (UTC)",
        )

    def handle(self, *args: Any, client: str, label: str, expires: str | None, **options: Any) -> None:
        expires_at = None if expires is None else _moment(expires)
        try:
            credential, token = Credential.objects.issue(named_client(client), label, expires_at)
        except ValidationError as exc:
            raise CommandError(" ".join(exc.messages)) from exc
        self.stdout.write(f"Credential {credential.pk} of {client}. Its token:")
        self.stdout.write(token)


def _moment(text: str) -> datetime:
    try:
        day = parse_date(text)
        moment = datetime.combine(day, time()) if day else parse_datetime(text)
        if moment is not None and timezone.is_naive(moment):
            moment = timezone.make_aware(moment)
    except (ValueError, OverflowError):
        moment = None
    if moment is None:
        raise CommandError("--expires is not a date or a time. Write 2027-01-31 or 2027-01-31T12:00+01:00.")
    if moment <= timezone.now():
        raise CommandError("--expires is in the past.")
    return moment
