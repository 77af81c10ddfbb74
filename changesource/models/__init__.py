"""Django models: the only place that touches the Django DB.

An `App` has a draft (`Table`, `Column`), which is edited, and `Version`s, which are streamed. `Client`s may connect,
`Replica`s are what they built, `RowErrorRecord`s tell of rows that could not be built. The streaming code uses
`changesource.models.store` only.
"""

from changesource.models.app import App
from changesource.models.client import Client
from changesource.models.column import Column
from changesource.models.replica import Replica
from changesource.models.row_error import RowErrorRecord
from changesource.models.table import Table
from changesource.models.version import Version

__all__ = ["App", "Client", "Column", "Replica", "RowErrorRecord", "Table", "Version"]
