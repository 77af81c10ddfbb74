"""MongoDB's errors, sorted by what can be done about them."""

from __future__ import annotations

import re

from pymongo.errors import ConnectionFailure, ExecutionTimeout, OperationFailure, PyMongoError

from changesource.errors import ChangeSourceError, HistoryLost, SourceUnreachable, SourceUnusable
from changesource.tables.definition import MARKERS_COLLECTION, shown_name

NO_WAY_ON = frozenset({136, 260, 280, 286})
"""CappedPositionLost, InvalidResumeToken, ChangeStreamFatalError, ChangeStreamHistoryLost."""

TOO_LARGE = 10_334
"""BSONObjectTooLarge: a stream that is opened again meets the same event."""

RESUMABLE = frozenset({6, 7, 63, 89, 91, 133, 150, 189, 234, 262, 9001, 10107, 11600, 11602, 13388, 13435, 13436})
"""The server's resumable errors, according to the drivers' change stream specification."""

CURSOR_GONE = frozenset({43, 50, 175, 237, 239, 246, 11601})
"""CursorNotFound, MaxTimeMSExpired, QueryPlanKilled (the collection was dropped or renamed),
CursorKilled (while it was read), SnapshotTooOld, SnapshotUnavailable, Interrupted: a new cursor
continues where this one was."""

UNAUTHORIZED = 13
AUTHENTICATION_FAILED = 18
NAMESPACE_NOT_FOUND = 26


_REFUSED_COMMAND = re.compile(r'to execute command \{ (?P<command>\w+): (?:"(?P<collection>[^"]{1,120})")?')
"""MongoDB: "not authorized on shop to execute command { find: "orders", filter: … }". The rest may
hold parts of documents."""


def _refused_command(error: OperationFailure) -> str:
    found = _REFUSED_COMMAND.search(str((error.details or {}).get("errmsg", "")))
    if found is None:
        return "do this"
    collection = found["collection"]
    return f"run {found['command']}" + (f" on {shown_name(collection)}" if collection else "")


def as_source_error(error: PyMongoError) -> ChangeSourceError:
    """Returns what `error` means: `HistoryLost`, `SourceUnusable`, or `SourceUnreachable`, after
    which to try again."""
    if isinstance(error, OperationFailure) and not isinstance(error, ExecutionTimeout):
        name = f"{(error.details or {}).get('codeName', 'error')} {error.code}"
        if error.code in NO_WAY_ON or error.has_error_label("NonResumableChangeStreamError"):
            return HistoryLost(f"MongoDB's change stream cannot continue from this position ({name}).")
        if error.code == TOO_LARGE:
            return SourceUnusable(
                f"A change event is larger than 16 MB ({name}). Upgrade MongoDB to 7.0 or 6.0.9, which split such events."
            )
        if error.code == AUTHENTICATION_FAILED:
            return SourceUnusable(f"The user or the password in the URI is wrong ({name}). Percent-encode both.")
        if error.code == UNAUTHORIZED:
            return SourceUnusable(
                f"The user of the URI may not {_refused_command(error)} ({name}). Grant it read on the database, and find, "
                f"insert and update on {MARKERS_COLLECTION}."
            )
        if error.code not in RESUMABLE | CURSOR_GONE and not error.has_error_label("ResumableChangeStreamError"):
            return SourceUnusable(f"MongoDB refused a request ({name}).")
        return SourceUnreachable(f"MongoDB's change stream was interrupted ({name}).")
    if isinstance(error, ConnectionFailure | ExecutionTimeout):
        return SourceUnreachable(f"MongoDB did not answer ({type(error).__name__}).")
    return SourceUnusable(f"PyMongo failed ({type(error).__name__}).")
