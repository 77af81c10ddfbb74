"""Connections that were refused."""

from __future__ import annotations

from django.db import models

MAX_ADDRESS_LENGTH = 64
MAX_CLIENT_LENGTH = 100
MAX_REASON_LENGTH = 200

MAX_REFUSALS = 10_000
"""How many are kept in all. A refused client comes back, from a few addresses or from very many."""


class Refusal(models.Model):
    """An address that was refused for one reason, and how often. `client` is a name, empty if the
    client is not known."""

    address = models.CharField(max_length=MAX_ADDRESS_LENGTH)
    client = models.CharField(max_length=MAX_CLIENT_LENGTH, blank=True)
    code = models.PositiveIntegerField(
        help_text="The WebSocket close code, or the HTTP status before there is a WebSocket."
    )
    reason = models.CharField(max_length=MAX_REASON_LENGTH)
    count = models.PositiveBigIntegerField()
    first_seen = models.DateTimeField()
    last_seen = models.DateTimeField(db_index=True)

    class Meta:
        ordering = ["-last_seen"]
        constraints = [models.UniqueConstraint(fields=["address", "client", "code", "reason"], name="refusal_unique")]
        verbose_name = "refused connection"

    def __str__(self) -> str:
        return f"{self.address} {self.code}"
