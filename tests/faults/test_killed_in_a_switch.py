"""Processes that are killed while a publish is on its way to a replica: the next connection begins it again, and it counts
once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from changesource.mongo.source import APP_NAME
from tests.e2e.deployment import Deployment, check_protocol
from tests.e2e.recording_proxy import RecordingProxy
from tests.e2e.workload import Workload
from tests.embedded.waiting import wait_until
from tests.node.tools import indexes_of
from zerosources.embedded.servers import MongoServer, PostgresServer

pytestmark = pytest.mark.timeout(300)

TEXT = {"type": "string", "optional": True}
NUMBER = {"type": "number", "optional": True}
HELD_MS = 2_000


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def schema_of(**columns: Any) -> dict[str, Any]:
    types = {"_id": {"type": "string"}, **columns}
    return {"tables": {"notes": {"name": "notes", "columns": types, "primaryKey": ["_id"]}}, "relationships": {}}


@contextmanager
def slow_scans(deployment: Deployment) -> Iterator[None]:
    """Each read of a collection by the product waits for two seconds."""
    fail_point = {"failCommands": ["find"], "appName": APP_NAME, "blockConnection": True, "blockTimeMS": HELD_MS}
    admin = deployment.client.admin
    admin.command({"configureFailPoint": "failCommand", "mode": "alwaysOn", "data": fail_point})
    try:
        yield
    finally:
        admin.command({"configureFailPoint": "failCommand", "mode": "off"})


def tags_in_open_transaction(proxy: RecordingProxy) -> list[str]:
    """What the last transaction that the proxy has seen begin consists of so far; empty if it has ended."""
    tags: list[str] = []
    for connection in list(proxy.connections):
        tags = []
        for frame in list(connection.frames):
            message = json.loads(frame)
            if message[0] in ("begin", "commit", "rollback"):
                tags = []
            if message[0] == "data":
                tags.append(message[1]["tag"])
    return tags


@pytest.mark.parametrize("victim", ["server", "zero-cache"])
def test_killed_while_a_table_is_extended(
    run_dir: Path, postgres_server: PostgresServer, stack: ExitStack, victim: str
) -> None:
    """A column and an index have been sent, the rows with values not yet: either process is killed, documents change, and the
    replica has all of it in the end, from the same snapshot."""
    mongo = stack.enter_context(MongoServer(run_dir / f"killed-{victim}-mongodb", test_commands=True))
    deployment = Deployment(
        stack, run_dir / f"killed-{victim}", mongo, postgres_server, None, schema_of(text=TEXT, n=NUMBER)
    )
    documents = [
        {"_id": f"seed-{number}", "n": number, "text": "x", **({"seen": f"s{number}"} if number % 3 else {})}
        for number in range(300)
    ]
    deployment.database.notes.insert_many(documents)
    server = deployment.serve()
    proxy = deployment.proxy(server)
    zero_cache = deployment.zero_cache(proxy)
    snapshot = deployment.wait_until_equal(zero_cache)
    extended = schema_of(text=TEXT, n=NUMBER, seen=TEXT)
    with slow_scans(deployment):
        deployment.publish(extended, {"notes": {"source": "notes", "indexes": [["seen", "n"]]}})
        wait_until(lambda: tags_in_open_transaction(proxy) == ["add-column", "create-index"], 60)
        if victim == "server":
            server.kill()
        else:
            zero_cache.kill()
        assert tags_in_open_transaction(proxy) == ["add-column", "create-index"]
    with Workload(deployment.database, seed=1, rate=100):
        deployment.database.notes.update_many({"n": {"$lt": 100}}, {"$set": {"seen": "later"}})
        deployment.database.notes.delete_many({"n": {"$mod": [7, 0]}})
        if victim == "server":
            proxy.target = deployment.serve("second").stream_url(deployment.token)
        else:
            zero_cache.start(wait=False)
    contents = deployment.wait_until_equal(zero_cache)
    assert contents.replica_version == snapshot.replica_version
    assert ["seen", "n"] in indexes_of(zero_cache.replica_path, "notes").values()
    check_protocol(proxy)
