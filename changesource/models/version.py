"""Published versions of an app."""

from __future__ import annotations

import uuid
from typing import Any

from django.conf import settings
from django.db import models

from changesource.models.app import App
from changesource.tables.definition import AppDefinition


def new_nonce() -> str:
    return uuid.uuid4().hex


class VersionManager(models.Manager["Version"]):
    """The two ways in which a publish ends, `confirm` and `abandon`: the first call decides. And
    what streams."""

    def confirm(self, nonce: str, cluster_time: int) -> bool:
        """Puts the version in force from `cluster_time` on. Returns whether its publish was still
        under way."""
        return bool(self.filter(nonce=nonce, cluster_time=None).update(cluster_time=cluster_time))

    def abandon(self, nonce: str) -> bool:
        """Deletes the version: the publish did not take place. Returns whether it was still under
        way."""
        count, _ = self.filter(nonce=nonce, cluster_time=None).delete()
        return count > 0

    def newest(self, app: App) -> Version | None:
        """The version of `app` that streams, None before the first."""
        return self.filter(app=app, cluster_time__isnull=False).order_by("-number").first()


class Version(models.Model):
    """What streams: an immutable, numbered copy of an app's definition. Numbers begin at 1 in each
    app.

    A version is in force from the position of its marker in the source's change stream on.
    `cluster_time` is the marker's; it is 0 for a version without a marker, such as the first one,
    before which nothing can stream, and None while the publish is under way. A publish that fails
    deletes its row.
    """

    app = models.ForeignKey(App, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    definition = models.JSONField(help_text="AppDefinition.to_json().")
    nonce = models.CharField(max_length=32, default=new_nonce, unique=True, help_text="Identifies its marker.")
    cluster_time = models.BigIntegerField(
        null=True,
        blank=True,
        help_text="The cluster time of its marker, as seconds << 32 | increment. Empty while it is being published.",
    )
    source_id = models.CharField(
        max_length=64,
        blank=True,
        editable=False,
        help_text="For a version without a marker: identifies the database that it streams from. Empty if it is not known.",
    )
    reason = models.CharField(
        max_length=200,
        blank=True,
        help_text="Why the app started over, if no person published this version. zero-caches are told this.",
    )
    published_at = models.DateTimeField(auto_now_add=True)
    published_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )

    objects = VersionManager()

    class Meta:
        ordering = ["app", "-number"]
        constraints = [models.UniqueConstraint(fields=["app", "number"], name="version_number_unique_in_app")]

    def __str__(self) -> str:
        return f"{self.app} version {self.number}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Stores a new version. Raises `TypeError` for a stored one."""
        if not self._state.adding:
            raise TypeError("A published version never changes. Edit the draft and publish it.")
        super().save(*args, **kwargs)

    def to_definition(self) -> AppDefinition:
        """The definition that this version stores."""
        return AppDefinition.from_json(self.definition)
