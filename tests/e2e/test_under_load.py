"""Nothing is lost or doubled while writers are busy: during the snapshot, the hand-over, and faults."""

from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
import redis

from tests.e2e.conftest import Deploy
from tests.e2e.deployment import Deployment, check_protocol, wait_until_not_none
from tests.e2e.recording_proxy import RecordingProxy, Transaction
from tests.e2e.workload import LEDGER, SCHEMA, Workload, fill
from tests.embedded.waiting import wait_until
from tests.node.tools import ReplicaContents, ReplicaError, read_replica
from zerosources.embedded.servers import MongoServer, PostgresServer, ValkeyServer
from zerosources.embedded.zero_cache import ZeroCache

pytestmark = pytest.mark.timeout(400)

LEAST_SHARE = 0.25
"""Of the writes a second that the same writers do before anybody reads what they write."""


def replica_with(zero_cache: ZeroCache, document_id: str) -> ReplicaContents | None:
    """The notes of the replica, once the document is among them."""
    try:
        contents = read_replica(zero_cache.replica_path, ["notes"])
    except ReplicaError:
        return None
    return contents if any(row["_id"] == document_id for row in contents.rows["notes"]) else None


def check_that_replication_goes_on(deployment: Deployment, zero_cache: ZeroCache, step: str) -> ReplicaContents:
    deployment.database.notes.insert_one({"_id": f"after {step}"})
    contents = wait_until_not_none(lambda: replica_with(zero_cache, f"after {step}"), 60)
    assert isinstance(contents, ReplicaContents)
    return contents


def ledger_rows(transaction: Transaction) -> list[dict[str, object]]:
    rows = []
    for change in transaction.changes:
        if change.get("relation", {}).get("name") not in LEDGER:
            continue
        if change["tag"] == "insert":
            rows.append(change["new"])
        if change["tag"] == "backfill":
            names = [*change["relation"]["rowKey"]["columns"], *change["columns"]]
            rows += [dict(zip(names, values, strict=True)) for values in change["rowValues"]]
    return rows


def check_that_transactions_are_whole(proxy: RecordingProxy) -> None:
    """All documents that one MongoDB transaction inserted come within one begin and commit, each time that they come."""
    seen: Counter[str] = Counter()
    for connection in proxy.connections:
        for transaction in connection.transactions():
            rows = {str(row["_id"]): row for row in ledger_rows(transaction)}.values()
            counts = Counter(str(row["transaction"]) for row in rows)
            sizes = {str(row["transaction"]): row["of"] for row in rows}
            assert counts == sizes
            seen += counts
    assert len(seen) > 20, "the workload made too few transactions for this to mean anything"


def test_nothing_is_lost_between_snapshot_and_stream(deploy: Deploy, log: str) -> None:
    """Writers do 400 operations a second, or as many as the machine lets them, during snapshot and hand-over: the final state
    is equal, transactions are whole. The snapshot and the stream leave them a good part of the rate that they have alone."""
    deployment = deploy(SCHEMA, log=log)
    fill(deployment.database, 5_000)
    server = deployment.start()
    proxy = deployment.proxy(server)
    with Workload(deployment.database, seed=1) as workload:
        wait_until(lambda: workload.writes > 600)
        alone = workload.writes_per_second
        zero_cache = deployment.zero_cache(proxy)
        check_that_replication_goes_on(deployment, zero_cache, "the snapshot")
        before = workload.writes
        wait_until(lambda: workload.writes > before + 1_500)
    contents = deployment.wait_until_equal(zero_cache)

    share = workload.writes_per_second / alone
    assert share > LEAST_SHARE, f"{share:.0%} of {alone:.0f} writes a second are too few for this to mean anything"
    assert {connection.last_watermark for connection in proxy.connections[:2]} == {"", contents.replica_version}
    assert len(proxy.connections) == 2
    check_that_transactions_are_whole(proxy)
    check_protocol(proxy)


def test_faults_with_the_log_in_memory(deploy: Deploy) -> None:
    """zero-cache restarted, then the server killed, under load: the replica goes on, without a snapshot."""
    deployment = deploy(SCHEMA)
    fill(deployment.database, 500)
    server = deployment.start()
    proxy = deployment.proxy(server)
    with Workload(deployment.database, seed=2):
        zero_cache = deployment.zero_cache(proxy)
        first = check_that_replication_goes_on(deployment, zero_cache, "the start")
        zero_cache.restart()
        check_that_replication_goes_on(deployment, zero_cache, "zero-cache was restarted")
        zero_cache.kill()
        zero_cache.start()
        check_that_replication_goes_on(deployment, zero_cache, "zero-cache was killed")
        server.kill()
        server.start()
        check_that_replication_goes_on(deployment, zero_cache, "the server was killed")
        server.restart()
        check_that_replication_goes_on(deployment, zero_cache, "the server was restarted")
    contents = deployment.wait_until_equal(zero_cache)

    assert contents.replica_version == first.replica_version
    check_that_transactions_are_whole(proxy)
    check_protocol(proxy)


def test_faults_with_the_log_in_redis(deploy: Deploy, run_dir: Path) -> None:
    """Server and watcher killed, Redis emptied and killed, under load: the replica goes on from its watermark."""
    with ValkeyServer(run_dir / "valkey-of-faults") as valkey:
        deployment = deploy(SCHEMA, log="redis", REDIS_URL=valkey.url)
        fill(deployment.database, 500)
        watcher = deployment.watch()
        server = deployment.serve()
        proxy = deployment.proxy(server)
        with Workload(deployment.database, seed=3):
            zero_cache = deployment.zero_cache(proxy)
            first = check_that_replication_goes_on(deployment, zero_cache, "the start")
            server.kill()
            server.start()
            check_that_replication_goes_on(deployment, zero_cache, "the server was killed")
            watcher.kill()
            check_that_replication_goes_on(deployment, zero_cache, "the watcher was killed")
            watcher.start()
            check_that_replication_goes_on(deployment, zero_cache, "the watcher was back")
            with redis.Redis.from_url(valkey.url) as connection:
                connection.flushall()
            check_that_replication_goes_on(deployment, zero_cache, "Redis was emptied")
            valkey.kill()
            check_that_replication_goes_on(deployment, zero_cache, "Redis was killed")
            valkey.start()
            check_that_replication_goes_on(deployment, zero_cache, "Redis was back")
            zero_cache.restart()
            check_that_replication_goes_on(deployment, zero_cache, "zero-cache was restarted")
        contents = deployment.wait_until_equal(zero_cache)

    assert contents.replica_version == first.replica_version
    check_that_transactions_are_whole(proxy)
    check_protocol(proxy)


def test_a_paused_leader_does_no_harm(deploy: Deploy) -> None:
    """The leading watcher is paused for longer than its lease and wakes up: the other one leads, nothing is doubled."""
    deployment = deploy(SCHEMA, log="redis")
    fill(deployment.database, 200)
    leader = deployment.watch("watcher-1")
    server = deployment.serve()
    wait_until(lambda: "leads as" in leader.log_path.read_text())
    standby = deployment.watch("watcher-2")
    proxy = deployment.proxy(server)
    with Workload(deployment.database, seed=6):
        zero_cache = deployment.zero_cache(proxy)
        first = check_that_replication_goes_on(deployment, zero_cache, "the start")
        psutil.Process(leader.pid).suspend()
        wait_until(lambda: "leads as" in standby.log_path.read_text())
        check_that_replication_goes_on(deployment, zero_cache, "the leader was paused")
        psutil.Process(leader.pid).resume()
        check_that_replication_goes_on(deployment, zero_cache, "the leader woke up")
        standby.kill()
        check_that_replication_goes_on(deployment, zero_cache, "the second leader was killed")
    contents = deployment.wait_until_equal(zero_cache)

    assert contents.replica_version == first.replica_version
    check_that_transactions_are_whole(proxy)
    check_protocol(proxy)


def test_mongodb_restarted(run_dir: Path, postgres_server: PostgresServer) -> None:
    """The source is stopped and comes back, twice: the stream goes on at its position."""
    with ExitStack() as stack:
        mongo = stack.enter_context(MongoServer(run_dir / "mongodb-of-restarts", sync_on_commit=True))
        deployment = Deployment(stack, run_dir / "restarts", mongo, postgres_server, None, SCHEMA)
        fill(deployment.database, 200)
        proxy = deployment.proxy(deployment.serve())
        zero_cache = deployment.zero_cache(proxy)
        first = deployment.wait_until_equal(zero_cache)
        for restart in range(2):
            deployment.database.notes.insert_many([{"_id": f"before-{restart}-{i}"} for i in range(50)])
            mongo.restart()
            deployment.database.notes.insert_many([{"_id": f"after-{restart}-{i}"} for i in range(50)])
            deployment.database.orders.delete_one({"_id": f"seed-{restart}"})
            contents = deployment.wait_until_equal(zero_cache)

        assert contents.replica_version == first.replica_version
        check_protocol(proxy)
