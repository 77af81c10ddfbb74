"""oplog.py: how far back the oplog reaches, if the user may read it."""

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
async def test_a_short_window_is_a_warning_and_a_very_short_one_an_error(hours: float, status: str) -> None:
    """Below a day and below an hour. The text has the number, and the remedy is given."""
    [result] = await check_oplog(oplog_of(hours), REPLICA_SET)
    assert result.status == status
    assert result.values["hours"] == pytest.approx(hours, abs=0.01)
    assert ("replSetResizeOplog" in result.remedy) is (status != "ok")


async def test_an_oplog_that_is_complete_is_never_too_small() -> None:
    """However young it is."""
    [result] = await check_oplog(oplog_of(0.1, op="n", o={"msg": "initiating set"}), REPLICA_SET)
    assert (result.status, result.values["is_whole"]) == ("ok", True)


async def test_the_window_of_a_router_is_unknown() -> None:
    """A router has no oplog."""
    [result] = await check_oplog(ScriptedDatabase(oplog=refusal()), SHARDED)  # type: ignore[arg-type]
    assert result.status == "unknown"
    assert "shard" in result.text


@pytest.mark.parametrize("code", [13, 8000, 73])
async def test_the_window_is_unknown_if_the_oplog_may_not_be_read(code: int) -> None:
    """(Atlas answers 8000.) The remedy says how to find out."""
    [result] = await check_oplog(ScriptedDatabase(oplog=refusal(code)), REPLICA_SET)  # type: ignore[arg-type]
    assert result.status == "unknown"
    assert "rs.printReplicationInfo()" in result.remedy


async def test_the_window_of_an_empty_oplog_is_unknown() -> None:
    [result] = await check_oplog(ScriptedDatabase(), REPLICA_SET)  # type: ignore[arg-type]
    assert result.status == "unknown"


async def test_a_user_without_read_on_local_does_not_see_the_window(as_user: AsUser) -> None:
    [result] = await check_oplog(as_user("streamer"), REPLICA_SET)
    assert (result.status, result.text) == ("unknown", "Unknown: this user may not read local.oplog.rs.")


async def test_a_user_with_read_on_local_sees_the_window(as_user: AsUser) -> None:
    [result] = await check_oplog(as_user("oplogger"), REPLICA_SET)
    assert (result.status, result.values["is_whole"]) == ("ok", True)


async def test_a_trimmed_oplog_reaches_back_to_its_first_entry(tmp_path: Path) -> None:
    """Here these are seconds, which is an error."""
    with MongoServer(tmp_path, oplog_max_entries=100) as server:
        async with open_database(server) as database:
            oplog = database.client.local["oplog.rs"]
            while (await oplog.find_one(sort=[("$natural", 1)], projection=["op"]))["op"] == "n":  # type: ignore[index]
                await database.city.insert_many({} for _ in range(1000))
            [result] = await check_oplog(database, REPLICA_SET)
        server.kill()
    assert (result.status, result.values["is_whole"]) == ("error", False)
