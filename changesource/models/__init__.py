"""Django models.

An `App` has a draft (`Table`, `Column`), which is edited, and `Version`s, which are streamed.
`Client`s connect with their `Credential`s and read what their `Grant`s allow; `AccessVersion`s are
the history of that, and `Refusal`s count the connections that were refused. `Replica`s are what
clients have built, `RunningSnapshot`s what they are building, `AwaitedReplica`s what they were told
to build; `RowErrorRecord`s count the rows that could not be built. The streams reach all of this
through `models.queries` alone.
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
