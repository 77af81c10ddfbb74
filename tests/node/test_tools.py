"""tools.py and the Node programs behind it."""

import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from tests.node import tools
from tests.node.tools import ReplicaError, query_replica, read_replica, validate_frames

RELATION = {"schema": "public", "name": "item", "rowKey": {"columns": ["id"]}}

SCHEMA = """
CREATE TABLE "_zero.replicationConfig" (replicaVersion, publications, initialSyncContext, lock INTEGER PRIMARY KEY);
CREATE TABLE "_zero.replicationState" (stateVersion, writeTimeMs, lock INTEGER PRIMARY KEY);
INSERT INTO "_zero.replicationConfig" VALUES ('101', '["a"]', '{}', 1);
INSERT INTO "_zero.replicationState" VALUES ('102', 0, 1);
CREATE TABLE "a ""b"" c" (value);
CREATE TABLE empty (value);
"""


def insert(row: dict[str, object]) -> str:
    return json.dumps(["data", {"tag": "insert", "relation": RELATION, "new": row}], ensure_ascii=False)


@pytest.mark.parametrize(
    "frame",
    [
        '["begin", {"tag": "begin"}, {"commitWatermark": "101"}]',
        '["begin",\r\n {"tag": "begin"},\n {"commitWatermark": "101"}]',
        insert({"id": 2**70}),
        insert({"id": "line\u2028separator \u2029 \x85 \x0b and\nmore"}),
        '["commit", {"tag": "commit", "of a later version": 1}, {"watermark": "101"}]',
    ],
    ids=["plain", "white space", "large integer", "line separators", "unknown key"],
)
def test_frame_that_zero_cache_reads(frame: str) -> None:
    """What zero-cache accepts is accepted."""
    assert validate_frames([frame]) == []


@pytest.mark.parametrize(
    "frame",
    [
        "not JSON",
        "[]",
        '[["commit", {"tag": "commit"}, {"watermark": "101"}]]',
        json.dumps(["data", {"tag": "update", "relation": RELATION, "new": {}}]),
    ],
    ids=["no JSON", "empty", "array of messages", "update without key"],
)
def test_frame_that_zero_cache_rejects(frame: str) -> None:
    """What zero-cache would close the connection for is named with its place in the sequence."""
    (error,) = validate_frames([insert({"id": 1}), frame])
    assert error.startswith("frame 2: ")


def test_no_frames() -> None:
    """Nothing sent is nothing wrong."""
    assert validate_frames([]) == []


def test_values_of_a_replica(tmp_path: Path) -> None:
    """Every kind of SQLite value comes through exactly."""
    values = [None, 1, -(2**63), 2**53 - 1, 2**53, 1.5, "text \u2028 \x00", b"\x00\xff", b""]
    with closing(sqlite3.connect(tmp_path / "replica.db")) as database:
        database.executescript(SCHEMA)
        database.executemany('INSERT INTO "a ""b"" c" VALUES (?)', [[value] for value in values])
        database.commit()
    contents = read_replica(tmp_path / "replica.db")
    assert contents.replica_version == "101"
    assert contents.watermark == "102"
    assert contents.publications == ["a"]
    assert contents.rows == {'a "b" c': [{"value": value} for value in values], "empty": []}
    assert read_replica(tmp_path / "replica.db", ["empty"]).rows == {"empty": []}


def test_replica_that_is_missing(tmp_path: Path) -> None:
    """Reading a replica that is not there is an error, and makes none."""
    with pytest.raises(ReplicaError, match=r"unable to open database file"):
        read_replica(tmp_path / "replica.db")
    assert list(tmp_path.iterdir()) == []


def test_table_that_is_missing(tmp_path: Path) -> None:
    """A table that the replica does not have is named."""
    with closing(sqlite3.connect(tmp_path / "replica.db")) as database:
        database.executescript(SCHEMA)
    with pytest.raises(ReplicaError, match="no such table: orders"):
        read_replica(tmp_path / "replica.db", ["orders"])


def test_a_question_that_fails_leaves_the_others_theirs(tmp_path: Path) -> None:
    """Threads ask at the same time, and each has its own answer, or its own error."""
    with closing(sqlite3.connect(tmp_path / "replica.db")) as database:
        database.executescript(SCHEMA)
        database.executemany("INSERT INTO empty VALUES (?)", [[number] for number in range(100)])
        database.commit()

    def ask(number: int) -> object:
        if number % 3 == 0:
            with pytest.raises(ReplicaError, match=f"no such table: t{number}"):
                read_replica(tmp_path / "replica.db", [f"t{number}"])
            return number
        sql = "SELECT value FROM empty WHERE value = CAST(? AS INTEGER)"
        return query_replica(tmp_path / "replica.db", sql, str(number))[0]["value"]

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(ask, range(30))) == list(range(30))


def test_a_process_that_was_killed_is_replaced(tmp_path: Path) -> None:
    """The next question starts another one."""
    assert validate_frames([]) == []
    process = tools._tools._process
    assert process is not None
    process.kill()
    process.wait()
    assert validate_frames(["[]"]) != []
