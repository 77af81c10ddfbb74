"""Checks the privileges of the source's user: what each is needed for, whether it is held, and what
is lost without it.

A server lists the privileges of a user, with built-in roles resolved (MongoDB: `connectionStatus`
with `showPrivileges`). Where it does not, because it has no access control or does not support
that, each privilege is tried in a way that leaves nothing behind.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pymongo.errors import OperationFailure, PyMongoError

from changesource.mongo.faults import NAMESPACE_NOT_FOUND, UNAUTHORIZED, as_source_error
from changesource.mongo.markers import MARKERS_COLLECTION
from changesource.mongo.source import Database, SourceReport
from changesource.mongo.source_checks.results import CheckResult, Status

UNUSED_COLLECTION = "zero_sources_nothing"
"""A collection that does not exist, so that a trial does nothing."""

Trial = Callable[[Database], Awaitable[object]]
Privileges = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Need:
    """A privilege that is needed on one collection, or on the whole database if `collection` is
    empty.

    `purpose` is a sentence; `loss` is the end of one that begins with "Without it,". `lack` is the
    status if it is not held.
    """

    action: str
    collection: str
    purpose: str
    loss: str
    lack: Status
    trial: Trial

    @property
    def name(self) -> str:
        return f"privilege {self.action}" + (f" on {self.collection}" if self.collection else "")


async def check_privileges(database: Database, report: SourceReport) -> list[CheckResult]:
    """Returns one result for each needed privilege. Raises the errors of `as_source_error`, except
    for a privilege that is lacking."""
    try:
        status = await database.command("connectionStatus", showPrivileges=True)
        listed: Privileges = status["authInfo"].get("authenticatedUserPrivileges") or ()
        results = []
        for need in needs(report):
            is_held = is_granted(listed, database.name, need) if listed else await _is_allowed(need.trial, database)
            results.append(_result(need, database.name, is_held=is_held))
    except PyMongoError as error:
        raise as_source_error(error) from error
    return results


def needs(report: SourceReport) -> Sequence[Need]:
    writes = "Barriers of snapshots, heartbeats and markers of publishes are documents in this collection."
    without_writes = (
        "every publish makes zero-caches build new replicas, and the position of a quiet source ages until it falls out of "
        "the oplog"
    )
    lack: Status = "warning"
    if report.is_sharded:
        without_writes, lack = "no snapshot can be taken of a sharded cluster, and nothing can be published", "error"
    return (
        Need("find", "", "It reads documents.", "neither snapshots nor look-ups work", "error", _find),
        Need("changeStream", "", "It reads changes.", "nothing streams", "error", _change_stream),
        Need("insert", MARKERS_COLLECTION, writes, without_writes, lack, _insert),
        Need("update", MARKERS_COLLECTION, writes, without_writes, lack, _update),
        Need(
            "listCollections",
            "",
            "It tells which collections record pre- and post-images, and which are views.",
            "nothing that needs pre-images can be published, and checks cannot look at collections",
            "warning",
            _list_collections,
        ),
        Need(
            "collStats",
            "",
            "It tells how large documents are, which decides the size of a snapshot's batches.",
            "snapshots read small batches, which takes longer",
            "warning",
            _collection_statistics,
        ),
        Need(
            "collMod",
            "",
            "It switches pre-images on when a table that needs them is published.",
            "another user has to switch them on first",
            "ok",
            _collection_options,
        ),
    )


def is_granted(listed: Privileges, database: str, need: Need) -> bool:
    """Whether one of the privileges that the server lists covers the need. MongoDB:
    reference/resource-document/."""
    return any(
        _covers(privilege["resource"], database, need.collection)
        and not {need.action, "anyAction"}.isdisjoint(privilege["actions"])
        for privilege in listed
    )


def _covers(resource: Mapping[str, Any], database: str, collection: str) -> bool:
    if resource.get("anyResource"):
        return True
    return resource.get("db") in ("", database) and resource.get("collection") in ("", collection)


def granting_command(database: str, need: Need) -> str:
    """Returns what a person with the right to grant runs in mongosh. `USER` has to be replaced: the
    user's name is not known here."""
    in_database = f"db.getSiblingDB({json.dumps(database)})"
    if need.action in ("find", "changeStream", "listCollections", "collStats"):
        roles = [{"role": "read", "db": database}]
        return f'Run, in the database of the user: db.grantRolesToUser("USER", {json.dumps(roles)})'
    actions = ["find", "insert", "update"] if need.collection else ["collMod", "createCollection"]
    role = "zeroSourcesMarkers" if need.collection else "zeroSourcesPreImages"
    definition = {
        "role": role,
        "privileges": [{"resource": {"db": database, "collection": need.collection}, "actions": actions}],
        "roles": [],
    }
    grant = f'db.grantRolesToUser("USER", {json.dumps([{"role": role, "db": database}])})'
    return f"Run {in_database}.createRole({json.dumps(definition)}) and, in the database of the user, {grant}"


def _result(need: Need, database: str, *, is_held: bool) -> CheckResult:
    if is_held:
        return CheckResult(need.name, "ok", f"Held. {need.purpose}", values={"is_held": True})
    text = f"Not held. {need.purpose} Without it, {need.loss}."
    return CheckResult(need.name, need.lack, text, granting_command(database, need), {"is_held": False})


# Trials, for servers that do not list privileges


async def _is_allowed(trial: Trial, database: Database) -> bool:
    try:
        await trial(database)
    except OperationFailure as error:
        if error.code == UNAUTHORIZED:
            return False
        if error.code != NAMESPACE_NOT_FOUND:  # MongoDB says so only once it has checked the privilege
            raise
    return True


async def _find(database: Database) -> None:
    await database[MARKERS_COLLECTION].find_one({}, {"_id": 1})


async def _change_stream(database: Database) -> None:
    async with await database.watch():
        pass


async def _insert(database: Database) -> None:
    """Inserts within a transaction that is aborted, which no change stream shows."""
    async with database.client.start_session() as session, await session.start_transaction():
        await database[MARKERS_COLLECTION].insert_one({"_id": "check"}, session=session)
        await session.abort_transaction()


async def _update(database: Database) -> None:
    await database[MARKERS_COLLECTION].update_one({"_id": "check"}, {"$set": {"app": None}})


async def _list_collections(database: Database) -> None:
    await database.command("listCollections", cursor={"batchSize": 1}, nameOnly=False)


async def _collection_statistics(database: Database) -> None:
    await database.command("collStats", UNUSED_COLLECTION)


async def _collection_options(database: Database) -> None:
    await database.command("collMod", UNUSED_COLLECTION)
