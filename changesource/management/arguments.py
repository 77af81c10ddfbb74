"""What arguments of several commands mean."""

from argparse import ArgumentTypeError
from collections.abc import Callable

from django.core.management.base import CommandError

from changesource.models import App, Client


def named_app(app_id: str, otherwise: str = "") -> App:
    """The app with this id. Raises `CommandError` if there is none, which says what to do, or
    `otherwise`."""
    app = App.objects.find(app_id)
    if app is None:
        raise CommandError(f"There is no app {app_id!r}. Create it in admin or with load_schema{otherwise}.")
    return app


def named_client(name: str) -> Client:
    """The client called `name`. Raises `CommandError` if there is none."""
    client = Client.objects.filter(name=name).first() if name.isprintable() else None
    if client is None:
        raise CommandError(f"There is no client {name!r}. Create it in admin or with create_client.")
    return client


def document_count(most: int) -> Callable[[str], int]:
    """The type of an argument that is a number of documents from 1 to `most`."""

    def read(text: str) -> int:
        if not text.isdecimal() or not 0 < int(text) <= most:
            raise ArgumentTypeError(f"a number of documents from 1 to {most:,}")
        return int(text)

    return read
