"""Finds the client that a command names."""

from django.core.management.base import CommandError

from changesource.models import Client


def named_client(name: str) -> Client:
    """The client called `name`. Raises `CommandError` if there is none."""
    client = Client.objects.filter(name=name).first() if name.isprintable() else None
    if client is None:
        raise CommandError(f"There is no client {name!r}. Create it in admin or with create_client.")
    return client
