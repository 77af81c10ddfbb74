"""A replica that a zero-cache was told to build."""

from __future__ import annotations

from datetime import timedelta

from django.db import models
from django.utils import timezone

from changesource.models.app import App
from changesource.models.client import Client
from changesource.models.replica import MAX_WATERMARK_LENGTH

AWAITED_FOR = timedelta(hours=1)
"""How long readiness reports a zero-cache that was told to build a replica and has not. After that,
it is probably switched off, or its snapshot takes long."""

MAX_REASON_LENGTH = 200


class AwaitedReplicaManager(models.Manager["AwaitedReplica"]):
    def alarming(self) -> models.QuerySet[AwaitedReplica]:
        """Those that lost something, and not long ago."""
        return self.filter(is_fault=True, told_at__gt=timezone.now() - AWAITED_FOR)


class AwaitedReplica(models.Model):
    """The client's zero-cache of this shard was sent `reset-required`. The row is deleted once its
    snapshot is complete.

    `is_fault`: no person caused it, neither by publishing nor by changing what a client may read.
    """

    app = models.ForeignKey(App, on_delete=models.CASCADE, related_name="awaited_replicas")
    client = models.ForeignKey(Client, on_delete=models.CASCADE, related_name="awaited_replicas")
    shard_num = models.PositiveIntegerField("shard")
    watermark = models.CharField(
        max_length=MAX_WATERMARK_LENGTH, blank=True, help_text="The newest watermark that its former replicas had."
    )
    reason = models.CharField(max_length=MAX_REASON_LENGTH)
    is_fault = models.BooleanField()
    told_at = models.DateTimeField()

    objects = AwaitedReplicaManager()

    class Meta:
        ordering = ["-told_at"]
        constraints = [
            models.UniqueConstraint(fields=["app", "client", "shard_num"], name="awaited_replica_unique_in_app")
        ]

    def __str__(self) -> str:
        return f"{self.app} shard {self.shard_num}"

    @property
    def is_alarming(self) -> bool:
        """The same as `alarming`, by this machine's clock."""
        return self.is_fault and self.told_at > timezone.now() - AWAITED_FOR
