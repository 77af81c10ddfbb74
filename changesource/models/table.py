"""Tables of an app's draft."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.db import models

from changesource.models.app import App
from changesource.tables.definition import MAX_IDENTIFIER_LENGTH, shown_name, why_not_a_name

MAX_COLLECTION_LENGTH = 255
"""MongoDB's limit, in bytes, for the names of a database and a collection together."""


def validate_names(value: Any) -> None:
    """Refuses JSON that is not a list of names."""
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ValidationError("Write a list of column names.")
    for name in value:
        if reason := why_not_a_name(name):
            raise ValidationError(f"{shown_name(name)}: {reason}")


def validate_indexes(value: Any) -> None:
    """Refuses JSON that is not a list of lists of names."""
    if not isinstance(value, list):
        raise ValidationError("Write a list of indexes, each a list of column names.")
    for index in value:
        validate_names(index)


def default_primary_key() -> list[str]:
    return ["_id"]


class Table(models.Model):
    """One table of the draft. Empty names stand for their defaults, as in
    `tables.definition.Table`."""

    app = models.ForeignKey(App, on_delete=models.CASCADE, related_name="tables")
    name = models.CharField(max_length=MAX_IDENTIFIER_LENGTH, help_text="The name of the table in Zero queries.")
    server_name = models.CharField(
        max_length=MAX_IDENTIFIER_LENGTH,
        blank=True,
        help_text="The name in zero-cache's replica (serverName). Leave it empty if it is the same as the name.",
    )
    collection = models.CharField(
        max_length=MAX_COLLECTION_LENGTH,
        blank=True,
        help_text="The MongoDB collection. Leave it empty if it is the same as the server name.",
    )
    mapping = models.TextField(
        blank=True,
        help_text="How documents are filtered and transformed before columns are taken from them, in MongoDB's language as "
        'Extended JSON: {"filter": …, "projection": …} or {"pipeline": […]}. Leave it empty to use documents as they are.',
    )
    permissions = models.TextField(
        blank=True,
        help_text='Who may do what with which rows: {"select": [rule, …], "insert": […], "update": {"before": […], '
        '"after": […]}, "delete": […]}. A rule is a filter over the columns, such as {"owner": "$auth.sub"}; {} allows '
        "everyone. If this is empty, queries that clients define return no rows.",
    )
    primary_key = models.JSONField(
        default=default_primary_key,
        validators=[validate_names],
        help_text="Names of columns. A key that does not come from _id alone requires pre-images of the collection.",
    )
    filter_columns = models.JSONField(
        default=list,
        blank=True,
        validators=[validate_names],
        help_text="Names of the columns that row filters of clients may use. If there are any, the collection has to record "
        "pre-images.",
    )
    indexes = models.JSONField(
        default=list,
        blank=True,
        validators=[validate_indexes],
        help_text="Column names of each index that zero-cache keeps besides the primary key's.",
    )
    position = models.PositiveIntegerField(default=0, help_text="Tables are listed and published in this order.")

    class Meta:
        ordering = ["app", "position", "pk"]
        constraints = [models.UniqueConstraint(fields=["app", "name"], name="table_name_unique_in_app")]

    def __str__(self) -> str:
        return self.name
