"""What a connection's transactions are made from."""

from __future__ import annotations

from dataclasses import dataclass

from changesource.mongo.source import Database
from changesource.replication.app_source import AppSource
from changesource.replication.row_error_notes import RowErrorSink
from changesource.sessions.client_access import ViewHistory


@dataclass(frozen=True, slots=True)
class StreamContext:
    """One connection's source and client, for everything that builds its transactions.

    `views` says what the client is shown at each position; `row_errors` takes what does not fit.
    """

    database: Database
    app_id: str
    shard_num: int
    views: ViewHistory
    row_errors: RowErrorSink

    @property
    def source(self) -> AppSource:
        """What a reader of the change stream needs of it."""
        return AppSource(self.database, self.views.history, self.row_errors)

    @property
    def label(self) -> str:
        """The app and shard, for people."""
        return f"{self.app_id}/{self.shard_num}"
