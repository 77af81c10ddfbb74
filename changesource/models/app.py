"""What Zero calls an app: a set of tables on one MongoDB database."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models

from changesource.conf import DEFAULT_SOURCE
from changesource.tables.definition import APP_ID_PATTERN, MAX_IDENTIFIER_LENGTH

SOURCE_PATTERN = r"\A[a-z0-9_]+\Z"


def validate_json_object(value: Any) -> None:
    """Refuses JSON that is not an object."""
    if not isinstance(value, dict):
        raise ValidationError("Write a JSON object: {…}.")


class AppManager(models.Manager["App"]):
    def find(self, app_id: str) -> App | None:
        """The app with this id. None for any other text, including text that no database could look
        up."""
        return self.filter(app_id=app_id).first() if APP_ID_PATTERN.fullmatch(app_id) else None

    def locked(self, pk: int) -> App:
        """The app, with its row locked until the transaction ends.

        Every change and every publish of a draft holds this lock, so that no publish sees half of a
        change. Raises `App.DoesNotExist`. On SQLite a transaction that may write is the only one
        that does.
        """
        return self.select_for_update(no_key=True).get(pk=pk)


class App(models.Model):
    """One app. Its draft is in `tables`; the newest of its `versions` is what streams."""

    app_id = models.CharField(
        "app id",
        max_length=MAX_IDENTIFIER_LENGTH,
        unique=True,
        validators=[
            RegexValidator(rf"\A{APP_ID_PATTERN.pattern}\Z", "Use only lower-case letters, digits and underscores.")
        ],
        help_text="The ZERO_APP_ID of zero-cache: lower-case letters, digits and underscores.",
    )
    source = models.CharField(
        max_length=63,
        default=DEFAULT_SOURCE,
        validators=[RegexValidator(SOURCE_PATTERN, "Use only lower-case letters, digits and underscores.")],
        help_text="The MongoDB database, by the name of its setting: MONGODB_URI is default, MONGODB_URI_<NAME> is the "
        "name in lower case.",
    )
    relationships = models.JSONField(
        default=dict,
        blank=True,
        validators=[validate_json_object],
        help_text="The relationships of the Zero schema, as in its JSON form.",
    )
    publications = models.JSONField(
        default=dict,
        blank=True,
        validators=[validate_json_object],
        help_text='Groups of tables that a zero-cache can ask for (ZERO_APP_PUBLICATIONS): {"mobile": ["order", "item"]}.',
    )
    queries = models.JSONField(
        default=dict,
        db_default={},
        blank=True,
        validators=[validate_json_object],
        help_text='Named queries: {"rooms.byKind": {"args": {"kind": "string"}, "table": "room", "where": {"kind": '
        '"$args.kind"}, "related": [{"relationship": "members"}], "orderBy": [["name", "asc"]], "limit": 5}}.',
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = AppManager()

    class Meta:
        ordering = ["app_id"]
        permissions = [("publish_app", "Can publish app")]

    def __str__(self) -> str:
        return self.app_id
