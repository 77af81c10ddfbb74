"""A credential for one downstream."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable

from django.core.exceptions import ValidationError
from django.db import models, transaction

from changesource.models.app import App

TOKEN_BYTES = 32
"""Too many to be guessed, so that one round of SHA-256 keeps the token from whoever reads the database."""


def digest_of(token: str) -> str:
    """What is stored of `token`: 64 hex digits. Any text has one, also text that UTF-8 cannot write."""
    return hashlib.sha256(token.encode("utf-8", errors="surrogatepass")).hexdigest()


def validate_printable(value: str) -> None:
    """Refuse text with control characters or with what UTF-8 cannot write."""
    if not value.isprintable():
        raise ValidationError("Use printable characters only.")


class ClientManager(models.Manager["Client"]):
    def create_with_token(self, name: str, apps: Iterable[App]) -> tuple[Client, str]:
        """A new client for `apps`, and its token, which nobody can read again.

        Raises `ValidationError` for a name that is taken, empty, too long or not printable.
        """
        client = Client(name=name)
        token = client.renew_token()
        client.full_clean()
        with transaction.atomic():
            client.save(force_insert=True)
            client.apps.set(apps)
        return client, token


class Client(models.Model):
    """One zero-cache deployment that may connect, and the apps that it may read."""

    name = models.CharField(max_length=100, unique=True, validators=[validate_printable])
    apps = models.ManyToManyField(App, related_name="clients", help_text="The apps that this client may read.")
    token_digest = models.CharField(max_length=64, unique=True, editable=False)
    is_active = models.BooleanField("active", default=True, help_text="Off: its token is refused.")
    created_at = models.DateTimeField(auto_now_add=True)
    last_seen_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = ClientManager()

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def renew_token(self) -> str:
        """A new random token in place of the old one, which is refused as soon as this client is saved."""
        token = secrets.token_urlsafe(TOKEN_BYTES)
        self.token_digest = digest_of(token)
        return token
