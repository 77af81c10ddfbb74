"""Django models: the only place that touches the Django DB.

An `App` has a draft (`Table`, `Column`), which is edited, and `Version`s, which are streamed. `Client`s may
connect by their `Credential`s and read what their `Grant`s say, of which `AccessVersion`s are the history; `Refusal`s tell
of who could not. `Replica`s are what clients built, `RunningSnapshot`s what they build now, `AwaitedReplica`s what they
were told to build, `RowErrorRecord`s tell of rows that could not be built. The streaming code uses
`changesource.models.store`, `client_store`, `snapshot_store` and `source_store` only.
"""

from changesource.models.access_version import AccessVersion
from changesource.models.app import App
from changesource.models.awaited_replica import AwaitedReplica
from changesource.models.client import Client, Grant
from changesource.models.column import Column
from changesource.models.credential import Credential
from changesource.models.refusal import Refusal
from changesource.models.replica import Replica
from changesource.models.row_error import RowErrorRecord
from changesource.models.running_snapshot import RunningSnapshot
from changesource.models.table import Table
from changesource.models.version import Version

__all__ = [
    "AccessVersion",
    "App",
    "AwaitedReplica",
    "Client",
    "Column",
    "Credential",
    "Grant",
    "Refusal",
    "Replica",
    "RowErrorRecord",
    "RunningSnapshot",
    "Table",
    "Version",
]
