"""The client that a command is about."""

from django.core.management.base import CommandError

from changesource.models import Client


def named_client(name: str) -> Client:
    """Raises `CommandError` for a name that no client has."""
    client = Client.objects.filter(name=name).first() if name.isprintable() else None
    if client is None:
        raise CommandError(f"There is no client {name!r}. Create it in admin or by create_client.")
    return client
