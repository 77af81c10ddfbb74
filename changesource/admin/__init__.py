"""Django admin: drafts, publishing, clients, replicas, awaited replicas, refused connections. It
has no logic of its own."""

from changesource.admin.app import AppAdmin
from changesource.admin.awaited_replica import AwaitedReplicaAdmin
from changesource.admin.client import ClientAdmin
from changesource.admin.refusal import RefusalAdmin
from changesource.admin.replica import ReplicaAdmin
from changesource.admin.row_error import RowErrorAdmin
from changesource.admin.running_snapshot import RunningSnapshotAdmin
from changesource.admin.table import TableAdmin
from changesource.admin.version import VersionAdmin

__all__ = [
    "AppAdmin",
    "AwaitedReplicaAdmin",
    "ClientAdmin",
    "RefusalAdmin",
    "ReplicaAdmin",
    "RowErrorAdmin",
    "RunningSnapshotAdmin",
    "TableAdmin",
    "VersionAdmin",
]
