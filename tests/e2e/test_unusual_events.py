"""What happens to collections rather than documents, and what is unusually large, late or odd."""

import json
import signal
import threading
import time

import psutil
import pytest
from bson import Binary, Int64, ObjectId
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.e2e.conftest import Deploy
from tests.e2e.deployment import check_protocol
from tests.e2e.workload import SCHEMA, Workload, fill
from tests.embedded.waiting import wait_until

pytestmark = pytest.mark.timeout(300)


def test_drop_rename_and_drop_database(deploy: Deploy) -> None:
    """Rows of a dropped collection go; those of a renamed one go with the old name and come with the new; after the
    database was dropped, the stream goes on."""
    deployment = deploy(SCHEMA)
    database = deployment.database
    fill(database, 100)
    database.unrelated.insert_many([{"_id": f"u-{i}", "n": i} for i in range(40)])
    proxy = deployment.proxy(deployment.start())
    zero_cache = deployment.zero_cache(proxy)
    first = deployment.wait_until_equal(zero_cache)

    database.notes.drop()
    deployment.wait_until_equal(zero_cache)
    database.notes.insert_one({"_id": "again", "n": 1})
    database.orders.rename("archive")
    deployment.wait_until_equal(zero_cache)
    database.unrelated.rename("orders")
    deployment.wait_until_equal(zero_cache)
    database.accounts.rename("orders", dropTarget=True)
    deployment.wait_until_equal(zero_cache)
    deployment.client.drop_database(deployment.database.name)
    deployment.wait_until_equal(zero_cache)
    fill(database, 10)
    contents = deployment.wait_until_equal(zero_cache)

    assert contents.replica_version == first.replica_version
    check_protocol(proxy)


def test_a_large_transaction_is_one(deploy: Deploy, log: str) -> None:
    """20,000 operations of one MongoDB transaction come between one begin and one commit."""
    deployment = deploy(SCHEMA, log=log)
    fill(deployment.database, 10)
    proxy = deployment.proxy(deployment.start())
    zero_cache = deployment.zero_cache(proxy)
    deployment.wait_until_equal(zero_cache)
    size = 20_000
    documents = [{"_id": f"big-{i}", "transaction": "big", "of": size, "text": "x" * 200} for i in range(size)]
    with deployment.client.start_session() as session, session.start_transaction():
        deployment.database.ledger.insert_many(documents, session=session)
        deployment.database.accounts.update_one({"_id": "seed-1"}, {"$set": {"n": -5}}, session=session)
    deployment.wait_until_equal(zero_cache)

    sizes = [
        sum(change["relation"]["name"] == "ledger" for change in transaction.changes)
        for transaction in proxy.connections[-1].transactions()
    ]
    assert [count for count in sizes if count] == [size]
    check_protocol(proxy)


def test_documents_near_the_limit(deploy: Deploy) -> None:
    """A document of 15 MB arrives with the snapshot, and its update, whose event is larger than 16 MB, afterwards."""
    deployment = deploy(SCHEMA)
    deployment.database.notes.insert_one({"_id": "big", "text": "x" * 15_000_000})
    proxy = deployment.proxy(deployment.start())
    zero_cache = deployment.zero_cache(proxy)
    deployment.wait_until_equal(zero_cache)
    deployment.database.notes.update_one({"_id": "big"}, {"$set": {"text": "y" * 15_000_000}})
    deployment.database.notes.insert_one({"_id": "small", "text": "after"})
    deployment.wait_until_equal(zero_cache)
    check_protocol(proxy)


def test_ids_of_every_type(deploy: Deploy) -> None:
    """Documents whose `_id`s are of many BSON types are all there, live as in the snapshot, and can be deleted."""
    deployment = deploy(SCHEMA)
    ids = [1, 2.5, Int64(2**60), "text", ObjectId(), True, {"a": 1, "b": [2]}, Binary(b"\1\2"), None]
    database = deployment.database
    database.notes.insert_many([{"_id": document_id, "n": 1} for document_id in ids])
    proxy = deployment.proxy(deployment.start())
    zero_cache = deployment.zero_cache(proxy)
    snapshot = deployment.wait_until_equal(zero_cache)
    assert len(snapshot.rows["notes"]) == len(ids) - 1, "null is no primary key"
    database.notes.update_many({}, {"$set": {"n": 2}})
    database.orders.insert_many([{"_id": document_id, "n": 3} for document_id in ids])
    deployment.wait_until_equal(zero_cache)
    database.notes.delete_many({})
    deployment.wait_until_equal(zero_cache)
    check_protocol(proxy)


@pytest.mark.parametrize("command", ["serve", "watch_changes"])
def test_sigterm_under_load(deploy: Deploy, command: str) -> None:
    """SIGTERM in the middle of a stream and a snapshot: status 0 within ten seconds, sockets closed with 1012."""
    deployment = deploy(SCHEMA, log="redis")
    text = "x" * 10_000
    deployment.database.notes.insert_many([{"_id": f"big-{i}", "text": text} for i in range(3_000)])
    watcher = deployment.watch()
    server = deployment.serve()
    url = (
        f"ws://127.0.0.1:{server.port}/changes/v0/stream?token={deployment.token}&appID={deployment.app_id}&shardNum=0"
    )
    with Workload(deployment.database, seed=5):
        with connect(url, max_size=None) as connection:
            version = json.loads(connection.recv())[2]["commitWatermark"]
            for _ in connection:
                pass
        closed: list[int | None] = []

        def read(query: str) -> None:
            with connect(url + query, max_size=None, max_queue=1) as connection:
                while connection.close_code is None:
                    try:
                        connection.recv()
                    except ConnectionClosed:
                        closed.append(connection.close_code)

        resume = f"&lastWatermark={version}&replicaVersion={version}"
        readers = [threading.Thread(target=read, args=(query,)) for query in (resume, "")]
        for reader in readers:
            reader.start()
        wait_until(lambda: server.log_path.read_text().count("snapshot for client") == 2)
        stopped = server if command == "serve" else watcher
        started = time.monotonic()
        psutil.Process(stopped.pid).send_signal(signal.SIGTERM)
        wait_until(lambda: not stopped.is_running, 20)
        assert time.monotonic() - started < 10
        assert stopped.exit_status == 0
        server.stop()
        for reader in readers:
            reader.join()
    if command == "serve":
        assert closed.count(1012) >= 1
        assert set(closed) <= {1012, 1000}
    assert "Traceback" not in stopped.log_path.read_text()
