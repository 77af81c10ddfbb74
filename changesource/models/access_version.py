"""What a client may read of an app, over time."""

from __future__ import annotations

from django.db import models

from changesource.models.app import App
from changesource.models.client import Client
from changesource.models.version import new_nonce


class AccessVersionManager(models.Manager["AccessVersion"]):
    def confirm(self, nonce: str, cluster_time: int) -> None:
        """Stores that the version is in force from `cluster_time` on, unless a reader has met its
        marker before."""
        self.filter(nonce=nonce, cluster_time=None).update(cluster_time=cluster_time)

    def start_over(self, app: App) -> None:
        """Makes what each client may read of `app` begin without a marker: the markers met so far
        are in another source, or before a point across which no stream continues. Call it in a
        transaction."""
        for grant in app.grants.select_for_update(of=("self",)).select_related("client"):
            newest = self.filter(client=grant.client, app=app).order_by("-number").first()
            if newest is not None:
                self.create(
                    client=grant.client, app=app, number=newest.number + 1, access=grant.access(), cluster_time=0
                )


class AccessVersion(models.Model):
    """An immutable, numbered copy of `Grant.access()`. Numbers begin at 1 for each client and app.

    Like a published version, it begins at the position of its marker in the source's change stream.
    `cluster_time` is 0 for a version without a marker, across which no stream continues, and None
    until a reader has met the marker.
    """

    client = models.ForeignKey(Client, on_delete=models.CASCADE, related_name="access_versions")
    app = models.ForeignKey(App, on_delete=models.CASCADE, related_name="access_versions")
    number = models.PositiveIntegerField()
    access = models.JSONField()
    nonce = models.CharField(max_length=32, default=new_nonce, unique=True)
    cluster_time = models.BigIntegerField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = AccessVersionManager()

    class Meta:
        ordering = ["client", "app", "-number"]
        constraints = [
            models.UniqueConstraint(fields=["client", "app", "number"], name="access_number_unique_in_client")
        ]

    def __str__(self) -> str:
        return f"{self.client} in {self.app}, access version {self.number}"
