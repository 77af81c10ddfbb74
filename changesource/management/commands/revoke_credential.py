"""`manage.py revoke_credential CLIENT (--credential ID | --all-but ID)`."""

from collections.abc import Sequence
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.utils import timezone

from changesource.management.arguments import named_client
from changesource.models import Client, Credential


class Command(BaseCommand):
    help = "Revokes credentials of a client: they are refused from now on, and their open streams end within seconds."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("client", metavar="CLIENT", help="the client's name")
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument("--credential", type=int, metavar="ID", help="the credential to revoke")
        which.add_argument("--all-but", type=int, metavar="ID", help="the only credential to keep")

    def handle(self, *args: Any, client: str, credential: int | None, all_but: int, **options: Any) -> None:
        owner = named_client(client)
        with transaction.atomic():
            revoked = _revoke_one(owner, credential) if credential is not None else _revoke_others(owner, all_but)
        for each in revoked:
            label = f" ({each.label})" if each.label else ""
            self.stdout.write(f"Revoked credential {each.pk}{label} of {owner}.")
        if not revoked:
            self.stdout.write("Nothing to revoke.")


def _revoke_one(client: Client, pk: int) -> Sequence[Credential]:
    credential = _credential(client, pk)
    if credential.revoked_at is not None:
        return []
    credential.revoke()
    return [credential]


def _revoke_others(client: Client, pk: int) -> Sequence[Credential]:
    """Refuses to leave a client with no valid credential, which a typing error could otherwise
    do."""
    kept = _credential(client, pk)
    has_expired = kept.expires_at is not None and kept.expires_at <= timezone.now()
    if kept.revoked_at is not None or has_expired:
        raise CommandError(f"Credential {kept.pk} is itself revoked or expired. Name one that is valid.")
    others = list(client.credentials.filter(revoked_at=None).exclude(pk=kept.pk))
    for other in others:
        other.revoke()
    return others


def _credential(client: Client, pk: int) -> Credential:
    credential = client.credentials.filter(pk=pk).first()
    if credential is None:
        known = ", ".join(str(known) for known in client.credentials.order_by("pk").values_list("pk", flat=True))
        raise CommandError(f"{client} has no credential {pk}. It has: {known or 'none'}.")
    return credential
