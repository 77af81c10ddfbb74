"""A snapshot that is being sent, or waits for its turn."""

from __future__ import annotations

from datetime import timedelta

from django.db import models
from django.utils import timezone

from changesource.models.app import App
from changesource.models.client import Client

SILENT_AFTER = timedelta(seconds=30)
"""Without news for so long it is no more: its process has died."""


class RunningSnapshotManager(models.Manager["RunningSnapshot"]):
    def alive(self) -> models.QuerySet[RunningSnapshot]:
        """Those of which somebody has said something of late."""
        return self.filter(noted_at__gt=timezone.now() - SILENT_AFTER)


class RunningSnapshot(models.Model):
    """How far one snapshot is. Its process writes it every few seconds, and takes it away in the end."""

    token = models.CharField(max_length=32, unique=True, editable=False, help_text="By which its process knows it.")
    app = models.ForeignKey(App, on_delete=models.CASCADE, related_name="running_snapshots")
    client = models.ForeignKey(
        Client, on_delete=models.SET_NULL, null=True, blank=True, related_name="running_snapshots"
    )
    shard_num = models.PositiveIntegerField("shard")
    asked_at = models.DateTimeField(help_text="When zero-cache asked for it.")
    began_at = models.DateTimeField(null=True, blank=True, help_text="Empty: it waits for its turn.")
    noted_at = models.DateTimeField()
    rows = models.PositiveBigIntegerField(default=0, help_text="Sent until now.")
    documents = models.PositiveBigIntegerField(default=0, help_text="Read until now.")
    total_documents = models.PositiveBigIntegerField(default=0, help_text="About how many there are to read.")

    objects = RunningSnapshotManager()

    class Meta:
        ordering = ["asked_at", "pk"]

    def __str__(self) -> str:
        return f"{self.app} shard {self.shard_num}: {self.state}"

    @property
    def state(self) -> str:
        """`waiting`, `reading`, or `closing`: all documents are read, and what changed meanwhile is added."""
        if self.began_at is None:
            return "waiting"
        return "closing" if self.documents and self.documents >= self.total_documents else "reading"

    @property
    def rows_per_second(self) -> float:
        """Since it began."""
        return self.rows / self._seconds if self._seconds else 0.0

    @property
    def seconds_left(self) -> float | None:
        """About how long reading will go on; None while nothing tells."""
        if not self.documents or not self._seconds:
            return None
        return max(0, self.total_documents - self.documents) * self._seconds / self.documents

    @property
    def _seconds(self) -> float:
        return 0.0 if self.began_at is None else (self.noted_at - self.began_at).total_seconds()
