"""`manage.py prune_audit [--days N]`."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from changesource.conf import load_settings
from changesource.models.queries.audit import prune_audit


class Command(BaseCommand):
    help = "Deletes history of clients and refused connections that are older than AUDIT_DAYS. 0 keeps them forever."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--days", type=int, metavar="N", help="overrides AUDIT_DAYS")

    def handle(self, *args: Any, days: int | None, **options: Any) -> None:
        days = load_settings().audit_days if days is None else days
        self.stdout.write(f"Deleted {prune_audit.blocking(days)} rows.")
