"""Checks how far back the oplog reaches, which is how long a zero-cache can be away."""

from __future__ import annotations

from typing import Any

from bson import Timestamp
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern

from changesource.mongo.faults import UNAUTHORIZED, as_source_error
from changesource.mongo.source import Database, SourceReport
from changesource.mongo.source_checks.results import CheckResult

NAME = "oplog window"
WARNING_HOURS = 24.0
"""The log in Redis holds as much, and an outage of a night is survived."""
ERROR_HOURS = 1.0
"""A large snapshot, or a restart that goes wrong, can take longer."""
FIRST_OF_ALL = "initiating set"
"""The first entry of any oplog. While it is there, nothing has been removed."""

LOOK_YOURSELF = "As a user who may read it, run rs.printReplicationInfo(): it should say 24 hours or more."
MORE_ROOM = "Make it larger: db.adminCommand({replSetResizeOplog: 1, minRetentionHours: 24}) on each member."


async def check_oplog(database: Database, report: SourceReport) -> list[CheckResult]:
    """Returns the hours between the first and the last entry. Raises `SourceUnreachable`."""
    if report.is_sharded:
        text = "Unknown: a router has no oplog; each shard has one of its own."
        return [CheckResult(NAME, "unknown", text, f"On a member of each shard: {LOOK_YOURSELF}")]
    oplog = database.client["local"].get_collection("oplog.rs", read_concern=ReadConcern("local"))
    try:
        first, last = await _end_of(oplog, 1), await _end_of(oplog, -1)
    except OperationFailure as error:
        reason = (
            "this user may not read local.oplog.rs"
            if error.code == UNAUTHORIZED
            else f"MongoDB refused a request ({error.code})"
        )
        grant = f'To see it here: db.grantRolesToUser("USER", [{{role: "read", db: "local"}}]). Or: {LOOK_YOURSELF}'
        return [CheckResult(NAME, "unknown", f"Unknown: {reason}.", grant)]
    except PyMongoError as error:
        raise as_source_error(error) from error
    if not isinstance(first.get("ts"), Timestamp) or not isinstance(last.get("ts"), Timestamp):
        return [CheckResult(NAME, "unknown", "Unknown: local.oplog.rs has no entries with a time.", LOOK_YOURSELF)]
    return [_judge((last["ts"].time - first["ts"].time) / 3600, is_whole=_is_first_of_all(first))]


def _judge(hours: float, *, is_whole: bool) -> CheckResult:
    values = {"hours": round(hours, 2), "is_whole": is_whole}
    if is_whole:
        text = (
            f"The oplog has everything since the replica set was created: {hours:.1f} hours so far, none removed yet."
        )
        return CheckResult(NAME, "ok", text, values=values)
    text = f"The oplog reaches back {hours:.1f} hours. A zero-cache that is away for longer needs a new snapshot."
    if hours >= WARNING_HOURS:
        return CheckResult(NAME, "ok", text, values=values)
    return CheckResult(NAME, "error" if hours < ERROR_HOURS else "warning", text, MORE_ROOM, values)


async def _end_of(oplog: AsyncCollection[dict[str, Any]], direction: int) -> dict[str, Any]:
    found = await oplog.find_one({}, {"ts": 1, "op": 1, "o.msg": 1}, sort=[("$natural", direction)])
    return found or {}


def _is_first_of_all(entry: dict[str, Any]) -> bool:
    content = entry.get("o")
    return entry.get("op") == "n" and isinstance(content, dict) and content.get("msg") == FIRST_OF_ALL
