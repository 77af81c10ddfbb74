"""Columns of the tables in an app's draft."""

from __future__ import annotations

from django.db import models

from changesource.models.table import Table
from changesource.tables.definition import COLUMN_TYPES, MAX_IDENTIFIER_LENGTH


class Column(models.Model):
    """One column of the draft. Empty names stand for their defaults, as in
    `tables.definition.Column`."""

    table = models.ForeignKey(Table, on_delete=models.CASCADE, related_name="columns")
    name = models.CharField(max_length=MAX_IDENTIFIER_LENGTH)
    server_name = models.CharField(max_length=MAX_IDENTIFIER_LENGTH, blank=True)
    field = models.CharField(max_length=255, blank=True)
    type = models.CharField(max_length=7, choices=[(name, name) for name in COLUMN_TYPES], default="string")
    optional = models.BooleanField(default=False)
    position = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ["table", "position", "pk"]

    def __str__(self) -> str:
        return self.name
