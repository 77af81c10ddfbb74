"""What Zero calls an app: a set of tables on one MongoDB database."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models

from changesource.tables.definition import APP_ID_PATTERN, MAX_IDENTIFIER_LENGTH

SOURCE_PATTERN = r"\A[a-z0-9_]+\Z"
DEFAULT_SOURCE = "default"


def source_variable(source: str) -> str:
    """The environment variable that holds the URI of `source`."""
    return "MONGODB_URI" if source == DEFAULT_SOURCE else f"MONGODB_URI_{source.upper()}"


def validate_json_object(value: Any) -> None:
    """Refuse JSON that is not an object."""
    if not isinstance(value, dict):
        raise ValidationError("Write a JSON object: {…}.")


class AppManager(models.Manager["App"]):
    def find(self, app_id: str) -> App | None:
        """The app with this id. None for any text that is no app's id, also what no database could look up."""
        return self.filter(app_id=app_id).first() if APP_ID_PATTERN.fullmatch(app_id) else None

    def locked(self, pk: int) -> App:
        """The app, its row locked until the transaction ends.

        Whoever changes or publishes a draft holds this lock, so that nobody publishes half of a change.
        Raises `App.DoesNotExist`. On SQLite a transaction that may write is the only one that writes.
        """
        return self.select_for_update(no_key=True).get(pk=pk)


class App(models.Model):
    """One app: its draft is in `tables`, what streams is the newest of its `versions`."""

    app_id = models.CharField(
        "app id",
        max_length=MAX_IDENTIFIER_LENGTH,
        unique=True,
        validators=[
            RegexValidator(rf"\A{APP_ID_PATTERN.pattern}\Z", "Use lower case letters, digits and underscores only.")
        ],
        help_text="zero-cache's ZERO_APP_ID: lower case letters, digits and underscores.",
    )
    source = models.CharField(
        max_length=63,
        default=DEFAULT_SOURCE,
        validators=[RegexValidator(SOURCE_PATTERN, "Use lower case letters, digits and underscores only.")],
        help_text="Name of the MongoDB database: MONGODB_URI is default, MONGODB_URI_<NAME> is the name in lower case.",
    )
    relationships = models.JSONField(
        default=dict,
        blank=True,
        validators=[validate_json_object],
        help_text="The relationships of Zero's schema, as they stand in its JSON form.",
    )
    publications = models.JSONField(
        default=dict,
        blank=True,
        validators=[validate_json_object],
        help_text='Groups of tables that a zero-cache may ask for (ZERO_APP_PUBLICATIONS): {"mobile": ["order", "item"]}.',
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = AppManager()

    class Meta:
        ordering = ["app_id"]
        permissions = [("publish_app", "Can publish app")]

    def __str__(self) -> str:
        return self.app_id
