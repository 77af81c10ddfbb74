"""Row errors that occurred, for administrators."""

from __future__ import annotations

from django.db import models

from changesource.models.app import App
from changesource.tables.compiled_table import MAX_DOCUMENT_ID_LENGTH

MAX_REASON_LENGTH = 500


class RowErrorRecord(models.Model):
    """A `tables.row_errors.RowError`, with how often it was seen, and when."""

    app = models.ForeignKey(App, on_delete=models.CASCADE, related_name="row_errors")
    table = models.CharField(max_length=63)
    document_id = models.CharField(max_length=MAX_DOCUMENT_ID_LENGTH, help_text="The _id, truncated if it is long.")
    column = models.CharField(max_length=63, blank=True)
    reason = models.CharField(max_length=MAX_REASON_LENGTH)
    count = models.PositiveBigIntegerField(default=1)
    first_seen = models.DateTimeField()
    last_seen = models.DateTimeField()

    class Meta:
        verbose_name = "row error"
        ordering = ["-last_seen", "-pk"]
        constraints = [
            models.UniqueConstraint(fields=["app", "table", "document_id", "column"], name="row_error_unique_in_app")
        ]
        indexes = [models.Index(fields=["app", "-last_seen"], name="row_error_newest_in_app")]

    def __str__(self) -> str:
        return f"{self.table}.{self.column} of {self.document_id}"
