"""What everything that reads the source of an app needs of it."""

from __future__ import annotations

from dataclasses import dataclass

from changesource.mongo.source import Database
from changesource.replication.row_error_notes import RowErrorSink
from changesource.replication.version_history import VersionHistory


@dataclass(frozen=True, slots=True)
class AppSource:
    """An app's database and versions, and where row errors of its documents are reported."""

    database: Database
    history: VersionHistory
    row_errors: RowErrorSink
