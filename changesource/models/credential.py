"""The tokens of clients, of which only keyed digests are stored."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime

from django.conf import settings
from django.db import models, transaction
from django.utils import timezone
from django.utils.crypto import salted_hmac

from changesource.models.client import Client, validate_printable
from changesource.models.history import keep_history

TOKEN_BYTES = 32
_LOOKUP_SALT = "changesource.models.credential"


def digest_of(token: str) -> str:
    """SHA-256 of `token`: 64 hex digits. Any text has one, even text that UTF-8 cannot encode. It is not stored; the lookup
    that is stored is computed from it."""
    return hashlib.sha256(token.encode("utf-8", errors="surrogatepass")).hexdigest()


def lookup_of(digest: str, secret: str | None = None) -> str:
    """What a credential is found by: a fast keyed digest, useless to a reader of the database without SECRET_KEY."""
    return salted_hmac(_LOOKUP_SALT, digest, secret=secret, algorithm="sha256").hexdigest()


def lookups_of(digest: str) -> list[str]:
    """The lookups that may be stored while SECRET_KEY is being changed: by SECRET_KEY first, then by SECRET_KEY_FALLBACKS."""
    return [lookup_of(digest, secret) for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)]


class CredentialManager(models.Manager["Credential"]):
    def issue(self, client: Client, label: str = "", expires_at: datetime | None = None) -> tuple[Credential, str]:
        """A new credential beside those that the client has, and its token, which cannot be read again.

        Raises `ValidationError` for a label that is too long or not printable.
        """
        token = secrets.token_urlsafe(TOKEN_BYTES)
        credential = Credential(client=client, label=label, lookup=lookup_of(digest_of(token)), expires_at=expires_at)
        credential.full_clean()
        credential.save(force_insert=True)
        return credential, token

    def valid(self) -> models.QuerySet[Credential]:
        """Those that are neither revoked nor expired, the newest first."""
        unexpired = models.Q(expires_at=None) | models.Q(expires_at__gt=timezone.now())
        return self.filter(unexpired, revoked_at=None).order_by("-created_at", "-pk")

    def revoke_all_but_newest(self, client: Client) -> list[Credential]:
        """Revokes the valid credentials of `client` except the newest, and gives those that it has revoked."""
        with transaction.atomic():
            Client.objects.select_for_update(no_key=True).get(pk=client.pk)
            older = list(self.valid().filter(client=client))[1:]
            for credential in older:
                credential.revoke()
        return older


class Credential(models.Model):
    """One token of a client. A client has several while they are being exchanged."""

    client = models.ForeignKey(Client, on_delete=models.CASCADE, related_name="credentials")
    label = models.CharField(
        max_length=100, blank=True, validators=[validate_printable], help_text="Where it is used, for people."
    )
    lookup = models.CharField(max_length=64, unique=True, editable=False)
    hash = models.CharField(max_length=256, editable=False)
    """Unused, and empty in new rows. Processes of an earlier release read it while an upgrade replaces them one by one."""
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField("expires", null=True, blank=True, help_text="Empty: never.")
    revoked_at = models.DateTimeField("revoked", null=True, blank=True, editable=False)
    last_used_at = models.DateTimeField("last used", null=True, blank=True, editable=False)

    objects = CredentialManager()
    history = keep_history(without=("lookup", "hash", "last_used_at"))

    class Meta:
        ordering = ["client", "-created_at"]

    def __str__(self) -> str:
        return f"{self.client}: {self.label or f'credential {self.pk}'}"

    def revoke(self) -> None:
        """Refuses it from now on; open streams end within seconds. The row stays as a record."""
        self.revoked_at = timezone.now()
        self.save(update_fields=["revoked_at"])
