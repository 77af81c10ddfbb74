"""How far each running snapshot is, for all processes to see."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone

from changesource.models.app import App
from changesource.models.client import Client
from changesource.models.database_threads import STREAMS
from changesource.models.running_snapshot import SILENT_AFTER, RunningSnapshot


@dataclass(slots=True)
class SnapshotState:
    """What the sending process knows of a snapshot. `began_at` is None while it waits for a
    slot."""

    token: str
    app_id: str
    client_id: int
    shard_num: int
    asked_at: datetime
    began_at: datetime | None = None
    rows: int = 0
    documents: int = 0
    total_documents: int = 0


@STREAMS.query
def note_snapshot(state: SnapshotState) -> None:
    """Stores the state, and deletes those of snapshots of which no process has reported for
    long."""
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


@STREAMS.query
def forget_snapshot(token: str) -> None:
    """Deletes the state of a snapshot that has ended, one way or another."""
    RunningSnapshot.objects.filter(token=token).delete()
