"""Snapshots that are being sent, or are waiting for a slot."""

from __future__ import annotations

from datetime import timedelta

from django.db import models
from django.utils import timezone

from changesource.models.app import App
from changesource.models.client import Client

SILENT_AFTER = timedelta(seconds=30)
"""A snapshot without news for this long no longer exists: its process has died."""


class RunningSnapshotManager(models.Manager["RunningSnapshot"]):
    def alive(self) -> models.QuerySet[RunningSnapshot]:
        """Those whose processes have reported recently."""
        return self.filter(noted_at__gt=timezone.now() - SILENT_AFTER)


class RunningSnapshot(models.Model):
    """How far one snapshot is. Its process updates the row every few seconds, and deletes it at the
    end."""

    token = models.CharField(
        max_length=32, unique=True, editable=False, help_text="Identifies the snapshot to its process."
    )
    app = models.ForeignKey(App, on_delete=models.CASCADE, related_name="running_snapshots")
    client = models.ForeignKey(
        Client, on_delete=models.SET_NULL, null=True, blank=True, related_name="running_snapshots"
    )
    shard_num = models.PositiveIntegerField("shard")
    asked_at = models.DateTimeField(help_text="When zero-cache asked for it.")
    began_at = models.DateTimeField(null=True, blank=True, help_text="Empty while it is waiting for a slot.")
    noted_at = models.DateTimeField()
    rows = models.PositiveBigIntegerField(default=0, help_text="Rows sent so far.")
    documents = models.PositiveBigIntegerField(default=0, help_text="Documents read so far.")
    total_documents = models.PositiveBigIntegerField(default=0, help_text="Estimated number of documents to read.")

    objects = RunningSnapshotManager()

    class Meta:
        ordering = ["asked_at", "pk"]

    def __str__(self) -> str:
        return f"{self.app} shard {self.shard_num}: {self.state}"

    @property
    def state(self) -> str:
        """`waiting`; `reading`; or `closing`, when all documents are read and the changes since
        then are being added."""
        if self.began_at is None:
            return "waiting"
        return "closing" if self.documents and self.documents >= self.total_documents else "reading"

    @property
    def rows_per_second(self) -> float:
        """The average since it began."""
        return self.rows / self._seconds if self._seconds else 0.0

    @property
    def seconds_left(self) -> float | None:
        """About how long reading will take; None while nothing is known."""
        if not self.documents or not self._seconds:
            return None
        return max(0, self.total_documents - self.documents) * self._seconds / self.documents

    @property
    def _seconds(self) -> float:
        return 0.0 if self.began_at is None else (self.noted_at - self.began_at).total_seconds()
