"""A published version of an app."""

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
    """The two ways in which a publish ends, of which only the first counts, whoever it is that decides; and what streams."""

    def confirm(self, nonce: str, cluster_time: int) -> bool:
        """The version is in force from `cluster_time` on. Whether it was still under way."""
        return bool(self.filter(nonce=nonce, cluster_time=None).update(cluster_time=cluster_time))

    def abandon(self, nonce: str) -> bool:
        """The publish did not take place. Whether it was still under way."""
        count, _ = self.filter(nonce=nonce, cluster_time=None).delete()
        return count > 0

    def newest(self, app: App) -> Version | None:
        """The version of `app` that streams, None before the first."""
        return self.filter(app=app, cluster_time__isnull=False).order_by("-number").first()


class Version(models.Model):
    """What streams: an immutable, numbered copy of an app's definition. Numbers begin at 1 in each app.

    It is in force from the position of its marker in the source's change stream on: `cluster_time`, 0 for the first
    version, which has no marker because nothing can stream before it. Without one, its publish is under way; one that fails
    takes its row with it.
    """

    app = models.ForeignKey(App, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    definition = models.JSONField(help_text="AppDefinition.to_json().")
    nonce = models.CharField(max_length=32, default=new_nonce, unique=True, help_text="By which it knows its marker.")
    cluster_time = models.BigIntegerField(
        null=True, blank=True, help_text="Of its marker, as seconds << 32 | increment. Empty: being published."
    )
    source_id = models.CharField(
        max_length=64,
        blank=True,
        editable=False,
        help_text="By which the database is known again that it streams from, of one without a marker. Empty: not known.",
    )
    reason = models.CharField(
        max_length=200, blank=True, help_text="Why it begins anew, if nobody published it. Replicas are told."
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
        """Store a new version. Raises `TypeError` for one that is stored already."""
        if not self._state.adding:
            raise TypeError("A published version never changes. Edit the draft and publish it.")
        super().save(*args, **kwargs)

    def to_definition(self) -> AppDefinition:
        """What this version says."""
        return AppDefinition.from_json(self.definition)
