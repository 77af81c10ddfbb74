"""Replicas that zero-caches have built from our snapshots."""

from __future__ import annotations

from django.db import models

from changesource.models.app import App
from changesource.models.client import Client

MAX_WATERMARK_LENGTH = 37
"""Zero: a LexiVersion is one digit for the length and up to 36 more (lexi-version.ts)."""


class Replica(models.Model):
    """One `(app, shard, replica version)`, and how far its zero-cache has come."""

    app = models.ForeignKey(App, on_delete=models.CASCADE, related_name="replicas")
    shard_num = models.PositiveIntegerField("shard")
    replica_version = models.CharField(
        max_length=MAX_WATERMARK_LENGTH, help_text="The watermark at which its snapshot began."
    )
    snapshot_end = models.CharField(
        max_length=MAX_WATERMARK_LENGTH,
        help_text="The watermark of the snapshot's rows, from which streaming continues.",
    )
    version_number = models.PositiveIntegerField(help_text="The published version of its snapshot.")
    client = models.ForeignKey(Client, on_delete=models.SET_NULL, null=True, blank=True, related_name="replicas")
    access_number = models.PositiveIntegerField(
        default=0, help_text="The access version of its snapshot: what the client was allowed to read."
    )
    scope = models.CharField(
        max_length=64,
        blank=True,
        editable=False,
        help_text="A digest of what else its rows depend on; see sessions.client_access.",
    )
    publications = models.JSONField(
        default=list,
        db_default=[],
        editable=False,
        help_text="The publications that its zero-cache asked for; empty for everything.",
    )
    acknowledged = models.CharField(
        max_length=MAX_WATERMARK_LENGTH,
        blank=True,
        help_text="The newest watermark that its zero-cache is known to have stored.",
    )
    created_at = models.DateTimeField(auto_now_add=True)
    last_seen_at = models.DateTimeField()

    class Meta:
        ordering = ["-last_seen_at"]
        constraints = [
            models.UniqueConstraint(fields=["app", "shard_num", "replica_version"], name="replica_unique_in_app")
        ]

    def __str__(self) -> str:
        return f"{self.app} shard {self.shard_num} replica {self.replica_version}"
