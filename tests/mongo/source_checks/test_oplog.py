"""oplog.py: how far back the oplog reaches, where the user may look."""

from pathlib import Path
from typing import Any

import pytest
from bson import Timestamp

from changesource.mongo.source_checks.oplog import check_oplog
from tests.mongo.opening import open_database
from tests.mongo.source_checks.conftest import AsUser
from tests.mongo.source_checks.scripted import REPLICA_SET, SHARDED, ScriptedDatabase, refusal
from zerosources.embedded.servers import MongoServer

NOW = 1_800_000_000


def oplog_of(hours: float, **first: Any) -> Any:
    return ScriptedDatabase(
        oplog=[{"ts": Timestamp(NOW - int(hours * 3600), 1), "op": "i", **first}, {"ts": Timestamp(NOW, 9)}]
    )


@pytest.mark.parametrize(
    ("hours", "status"), [(0, "error"), (0.9, "error"), (1, "warning"), (23.9, "warning"), (24, "ok"), (700, "ok")]
)
async def test_window(hours: float, status: str) -> None:
    """Less than a day is little, less than an hour too little; what is said has the number and the remedy."""
    [result] = await check_oplog(oplog_of(hours), REPLICA_SET)
    assert result.status == status
    assert result.values["hours"] == pytest.approx(hours, abs=0.01)
    assert ("replSetResizeOplog" in result.remedy) is (status != "ok")


async def test_young_replica_set() -> None:
    """An oplog of which nothing has been cut off is not too small, however short it is."""
    [result] = await check_oplog(oplog_of(0.1, op="n", o={"msg": "initiating set"}), REPLICA_SET)
    assert (result.status, result.values["is_whole"]) == ("ok", True)


async def test_router() -> None:
    """A router has none: what is not known is not made up."""
    [result] = await check_oplog(ScriptedDatabase(oplog=refusal()), SHARDED)  # type: ignore[arg-type]
    assert result.status == "unknown"
    assert "shard" in result.text


@pytest.mark.parametrize("code", [13, 8000, 73])
async def test_refused(code: int) -> None:
    """Where it may not be read (Atlas answers 8000) it is unknown, with a way to look."""
    [result] = await check_oplog(ScriptedDatabase(oplog=refusal(code)), REPLICA_SET)  # type: ignore[arg-type]
    assert result.status == "unknown"
    assert "rs.printReplicationInfo()" in result.remedy


async def test_empty() -> None:
    """No entry, no window."""
    [result] = await check_oplog(ScriptedDatabase(), REPLICA_SET)  # type: ignore[arg-type]
    assert result.status == "unknown"


async def test_user_who_may_not_look(as_user: AsUser) -> None:
    """The usual user reads its own database only."""
    [result] = await check_oplog(as_user("streamer"), REPLICA_SET)
    assert (result.status, result.text) == ("unknown", "Unknown: this user may not read local.oplog.rs.")


async def test_user_who_may_look(as_user: AsUser) -> None:
    """With `read` on `local` the window is known."""
    [result] = await check_oplog(as_user("oplogger"), REPLICA_SET)
    assert (result.status, result.values["is_whole"]) == ("ok", True)


async def test_tiny_oplog(tmp_path: Path) -> None:
    """An oplog that has been cut reaches back no further than its first entry, which is an error here: seconds."""
    with MongoServer(tmp_path, oplog_max_entries=100) as server:
        async with open_database(server) as database:
            oplog = database.client.local["oplog.rs"]
            while (await oplog.find_one(sort=[("$natural", 1)], projection=["op"]))["op"] == "n":  # type: ignore[index]
                await database.city.insert_many({} for _ in range(1000))
            [result] = await check_oplog(database, REPLICA_SET)
        server.kill()
    assert (result.status, result.values["is_whole"]) == ("error", False)
