"""How far snapshots are, for all processes to see: kept in the Django DB. Raises as `store` does."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone

from changesource.models.app import App
from changesource.models.client import Client
from changesource.models.running_snapshot import SILENT_AFTER, RunningSnapshot
from changesource.models.store import in_database


@dataclass(slots=True)
class SnapshotState:
    """What its process knows of a snapshot. `began_at` is None while it waits for its turn."""

    token: str
    app_id: str
    client_id: int
    shard_num: int
    asked_at: datetime
    began_at: datetime | None = None
    rows: int = 0
    documents: int = 0
    total_documents: int = 0


async def note_snapshot(state: SnapshotState) -> None:
    """Keeps what there is now, and forgets snapshots that nobody speaks of any more."""
    await in_database(_note, state)


async def forget_snapshot(token: str) -> None:
    """It has ended, one way or another."""
    await in_database(lambda: RunningSnapshot.objects.filter(token=token).delete())


def _note(state: SnapshotState) -> None:
    now = timezone.now()
    progress = {
        "began_at": state.began_at,
        "noted_at": now,
        "rows": state.rows,
        "documents": state.documents,
        "total_documents": state.total_documents,
    }
    if RunningSnapshot.objects.filter(token=state.token).update(**progress):
        return
    RunningSnapshot.objects.filter(noted_at__lt=now - 2 * SILENT_AFTER).delete()
    app = App.objects.filter(app_id=state.app_id).first()
    if app is None:
        return
    RunningSnapshot.objects.create(
        token=state.token,
        app=app,
        client=Client.objects.filter(pk=state.client_id).first(),
        shard_num=state.shard_num,
        asked_at=state.asked_at,
        **progress,
    )
