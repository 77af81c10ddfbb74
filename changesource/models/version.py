"""A published version of an app."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models

from changesource.mapping.definition import AppDefinition
from changesource.models.app import App


class Version(models.Model):
    """What streams: an immutable, numbered copy of an app's definition. Numbers begin at 1 in each app."""

    app = models.ForeignKey(App, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    definition = models.JSONField(help_text="AppDefinition.to_json().")
    published_at = models.DateTimeField(auto_now_add=True)
    published_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )

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
