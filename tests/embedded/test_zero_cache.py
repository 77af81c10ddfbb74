"""zero_cache.py: zero-cache against a scripted change source."""

import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.embedded.scripted_source import Message, ScriptedSource, create_table, insert, required_tables, transaction
from tests.embedded.waiting import wait_until
from tests.node.tools import read_replica
from zerosources.embedded.server import ServerError
from zerosources.embedded.servers import PostgresServer
from zerosources.embedded.zero_cache import ZeroCache

pytestmark = pytest.mark.not_fast


def snapshot(watermark: str) -> list[Message]:
    return transaction(
        watermark,
        *required_tables("shop", 2),
        *create_table("public", "item", {"id": "text", "count": "int8"}, ["id"]),
        insert("public", "item", ["id"], {"id": "first", "count": 1}),
    )


LIVE = transaction("102", insert("public", "item", ["id"], {"id": "second", "count": 2**60}))
RESET: Message = ["control", {"tag": "reset-required", "message": "the oplog is gone"}]


@pytest.fixture
def source() -> Iterator[ScriptedSource]:
    """A snapshot of one row, and one more row."""
    with ScriptedSource({None: snapshot("101"), "101": LIVE}.get) as source:
        yield source


def test_replication(source: ScriptedSource, postgres_server: PostgresServer, tmp_path: Path) -> None:
    """zero-cache takes the snapshot and what comes after, and goes on where it was after a restart."""
    zero_cache = ZeroCache(tmp_path, upstream_url=source.url, postgres=postgres_server, app_id="shop", shard_num=2)
    with zero_cache:
        wait_until(lambda: source.acknowledged == ["102"])
        wait_until(lambda: read_replica(zero_cache.replica_path).watermark == "102")
        contents = read_replica(zero_cache.replica_path, ["item", "shop_2.clients"])
        zero_cache.restart()
        wait_until(lambda: source.requests[-1].get("lastWatermark") == ["102"])
    assert contents.replica_version == "101"
    assert contents.rows == {
        "item": [
            {"id": "first", "count": 1, "_0_version": "101"},
            {"id": "second", "count": 2**60, "_0_version": "102"},
        ],
        "shop_2.clients": [],
    }
    assert source.requests[0] == {"appID": ["shop"], "shardNum": ["2"]}


def test_supervision(source: ScriptedSource, postgres_server: PostgresServer, tmp_path: Path) -> None:
    """A supervised zero-cache comes back after its end until it is stopped, and nothing of it stays."""
    zero_cache = ZeroCache(
        tmp_path, upstream_url=source.url, postgres=postgres_server, app_id="shop", shard_num=2, supervise=True
    )
    with zero_cache:
        first = zero_cache.pid
        processes = psutil.Process(first).children(recursive=True)
        assert len(processes) > 3, "zero-cache's workers"
        zero_cache.kill()
        wait_until(lambda: zero_cache.restarts == 1)
        zero_cache.wait_until_ready()
        assert zero_cache.pid != first
    assert zero_cache.exit_statuses == [128 + signal.SIGKILL]
    assert not zero_cache.is_running
    assert not any(process.is_running() for process in processes)


def test_restart_for_a_reset(postgres_server: PostgresServer, tmp_path: Path) -> None:
    """zero-cache ends with status 14 when the source asks for a reset, and takes a new snapshot when it is back."""
    snapshots = iter([snapshot("101"), snapshot("201")])
    with (
        ScriptedSource(
            lambda watermark: next(snapshots) if watermark is None else {"101": [RESET]}.get(watermark)
        ) as source,
        ZeroCache(
            tmp_path, upstream_url=source.url, postgres=postgres_server, app_id="shop", shard_num=2, supervise=True
        ) as zero_cache,
    ):
        wait_until(lambda: source.requests[-1].get("replicaVersion") == ["201"])
        assert zero_cache.exit_statuses == [14]


def test_start_error(postgres_server: PostgresServer, tmp_path: Path) -> None:
    """A zero-cache that ends at once fails with the end of its log."""
    zero_cache = ZeroCache(
        tmp_path, upstream_url="ws://127.0.0.1:1/", postgres=postgres_server, env={"ZERO_SHARD_NUM": "many"}
    )
    with pytest.raises(ServerError, match=r"zero-cache ended with status [\s\S]*many"):
        zero_cache.start()


def test_inherited_settings(monkeypatch: pytest.MonkeyPatch, postgres_server: PostgresServer, tmp_path: Path) -> None:
    """zero-cache gets the settings given to it, and none of this process."""
    monkeypatch.setenv("ZERO_QUERY_URL", "http://127.0.0.1/elsewhere")
    zero_cache = ZeroCache(
        tmp_path, upstream_url="ws://127.0.0.1:1/", postgres=postgres_server, env={"ZERO_LOG_LEVEL": "debug"}
    )
    environment = zero_cache.environment()
    assert "ZERO_QUERY_URL" not in environment
    assert environment["ZERO_LOG_LEVEL"] == "debug"


def test_task_id(postgres_server: PostgresServer, tmp_path: Path) -> None:
    """Each start has another one, none of which zero-cache takes for an option: it may draw one that begins with a hyphen."""
    zero_cache = ZeroCache(tmp_path, upstream_url="ws://127.0.0.1:1/", postgres=postgres_server)
    one, another = (zero_cache.environment()["ZERO_TASK_ID"] for _ in range(2))
    assert one != another
    assert one.startswith("zero-cache-")
