"""Publishing into running streams: a real zero-cache follows each change of the schema without a restart or a resync."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import pytest

from tests.e2e.conftest import Deploy
from tests.e2e.deployment import Deployment, check_protocol
from tests.e2e.recording_proxy import RecordingProxy
from tests.e2e.workload import SCHEMA as WORKLOAD_SCHEMA
from tests.e2e.workload import Workload, fill
from tests.embedded.waiting import wait_until
from zerosources.embedded.ports import free_port
from zerosources.embedded.project import ServeCommand
from zerosources.embedded.server import ServerError

pytestmark = pytest.mark.timeout(300)


def column(kind: str, *, optional: bool = True) -> dict[str, Any]:
    return {"type": kind, "optional": optional}


class Draft:
    """A schema and its mappings, changed step by step."""

    def __init__(self) -> None:
        self.schema: dict[str, Any] = copy.deepcopy(WORKLOAD_SCHEMA)
        self.mappings: dict[str, Any] = {}

    @property
    def permissions(self) -> dict[str, Any]:
        """Everybody sees everything."""
        return {name: {"select": [{}]} for name in self.tables}

    @property
    def tables(self) -> dict[str, Any]:
        return self.schema["tables"]

    def columns(self, table: str) -> dict[str, Any]:
        return self.tables[table]["columns"]


def add_a_table(draft: Draft) -> None:
    draft.tables["late"] = {"name": "late", "columns": {"_id": column("string", optional=False)}, "primaryKey": ["_id"]}
    draft.tables["late"]["columns"]["n"] = column("number")
    draft.mappings["late"] = {"source": "orders", "filter": {"n": {"$mod": [2, 0]}}}


def drop_a_table(draft: Draft) -> None:
    del draft.tables["late"], draft.mappings["late"]


def add_a_column(draft: Draft) -> None:
    draft.columns("notes")["seen"] = column("string")
    draft.mappings["notes"] = {"source": "notes", "pipeline": [{"$set": {"seen": {"$toString": "$n"}}}]}


def drop_a_column(draft: Draft) -> None:
    del draft.columns("notes")["text"]


def retype_a_column(draft: Draft) -> None:
    draft.columns("notes")["n"] = column("string")


def require_a_column(draft: Draft) -> None:
    draft.columns("notes")["n"] = column("string", optional=False)


def allow_null_again(draft: Draft) -> None:
    draft.columns("notes")["n"] = column("string")


def change_a_filter(draft: Draft) -> None:
    draft.mappings["accounts"] = {"source": "accounts", "filter": {"n": {"$gte": 0}}}


def rename_a_table(draft: Draft) -> None:
    draft.tables["bills"] = {**draft.tables.pop("orders"), "name": "bills"}
    draft.mappings["bills"] = {"source": "orders"}


def change_a_key(draft: Draft) -> None:
    draft.columns("accounts")["copy"] = column("string", optional=False)
    draft.mappings["accounts"] = {"source": "accounts", "pipeline": [{"$set": {"copy": {"$toString": "$_id"}}}]}
    draft.tables["accounts"]["primaryKey"] = ["copy"]


STEPS = [
    add_a_table,
    add_a_column,
    drop_a_column,
    retype_a_column,
    require_a_column,
    allow_null_again,
    change_a_filter,
    rename_a_table,
    change_a_key,
    drop_a_table,
]


def publish(deployment: Deployment, draft: Draft) -> None:
    deployment.publish(draft.schema, draft.mappings, draft.permissions)


def test_every_schema_change_under_load(deploy: Deploy) -> None:
    """Each kind of change is published while writers run: the replica equals the new version's rows, in the same
    zero-cache process, from the same snapshot."""
    draft = Draft()
    deployment = deploy(draft.schema, log="redis")
    fill(deployment.database, 300)
    proxy = deployment.proxy(deployment.start())
    zero_cache = deployment.zero_cache(proxy)
    snapshot = deployment.wait_until_equal(zero_cache)
    pid = zero_cache.pid
    for seed, step in enumerate(STEPS):
        with Workload(deployment.database, seed=seed, rate=150):
            step(draft)
            publish(deployment, draft)
        contents = deployment.wait_until_equal(zero_cache)
        assert contents.replica_version == snapshot.replica_version, step.__name__
        assert zero_cache.pid == pid
    check_protocol(proxy)


def test_offline_over_three_publishes(deploy: Deploy) -> None:
    """A replica that was away resumes at its old watermark and ends with the newest version."""
    draft = Draft()
    deployment = deploy(draft.schema)
    fill(deployment.database, 100)
    proxy = deployment.proxy(deployment.start())
    zero_cache = deployment.zero_cache(proxy)
    snapshot = deployment.wait_until_equal(zero_cache)
    zero_cache.stop()
    for seed, step in enumerate((add_a_table, add_a_column, change_a_key)):
        with Workload(deployment.database, seed=seed, rate=100):
            step(draft)
            publish(deployment, draft)
    zero_cache.start(wait=False)
    contents = deployment.wait_until_equal(zero_cache)
    assert contents.replica_version == snapshot.replica_version
    check_protocol(proxy)


def test_while_nobody_watches(deploy: Deploy) -> None:
    """The watcher is down: the session meets the publish in MongoDB itself; a watcher that comes back goes on with the new
    version; publishing the same again, or twice in a row, is met once."""
    draft = Draft()
    deployment = deploy(draft.schema, log="redis")
    fill(deployment.database, 50)
    watcher = deployment.watch()
    proxy = deployment.proxy(deployment.serve())
    zero_cache = deployment.zero_cache(proxy)
    snapshot = deployment.wait_until_equal(zero_cache)
    watcher.stop()
    add_a_table(draft)
    publish(deployment, draft)
    publish(deployment, draft)
    deployment.wait_until_equal(zero_cache)
    deployment.watch("second-watcher")
    add_a_column(draft)
    publish(deployment, draft)
    drop_a_column(draft)
    publish(deployment, draft)
    deployment.database.orders.insert_one({"_id": "after", "n": 2})
    contents = deployment.wait_until_equal(zero_cache)
    assert contents.replica_version == snapshot.replica_version
    assert deployment.manage("publish", deployment.app_id).strip() == "4"
    check_protocol(proxy)


def test_publishing_at_once(deploy: Deploy) -> None:
    """Several publish different drafts at the same moment while others resume and load snapshots: all replicas end with the
    newest version."""
    draft = Draft()
    deployment = deploy(draft.schema)
    fill(deployment.database, 300)
    proxy = deployment.proxy(deployment.start())
    zero_caches = [deployment.zero_cache(proxy)]
    deployment.wait_until_equal(zero_caches[0])
    add_a_table(draft)
    zero_caches.append(deployment.zero_cache(proxy, shard_num=1))
    with Workload(deployment.database, seed=1, rate=100):
        publish(deployment, draft)
        files = [str(deployment.folder / name) for name in ("schema.json", "mappings.json")]
        drop_a_column(draft)
        change_a_filter(draft)
        publishers = [
            Thread(target=deployment.manage, args=("load_schema", files[0], "--app", deployment.app_id, "--publish")),
            Thread(target=publish, args=(deployment, draft)),
            Thread(target=deployment.manage, args=("publish", deployment.app_id)),
        ]
        for publisher in publishers:
            publisher.start()
        for publisher in publishers:
            publisher.join()
        publish(deployment, draft)
    for zero_cache in zero_caches:
        deployment.wait_until_equal(zero_cache)
    check_protocol(proxy)


def test_failed_publish_changes_nothing(deploy: Deploy) -> None:
    """With the source away, and with a mapping that is none, the command fails, and the streams go on with what was."""
    draft = Draft()
    deployment = deploy(draft.schema)
    fill(deployment.database, 20)
    zero_cache = deployment.zero_cache(deployment.proxy(deployment.start()))
    deployment.wait_until_equal(zero_cache)
    before = deployment.definition
    draft.mappings["notes"] = {"source": "notes", "pipeline": [{"$group": {"_id": "$n"}}]}
    with pytest.raises(ServerError, match="other documents"):
        publish(deployment, draft)
    del draft.mappings["notes"]
    add_a_table(draft)
    reachable = deployment.environment["MONGODB_URI"]
    deployment.environment["MONGODB_URI"] = f"mongodb://127.0.0.1:{free_port()}/{deployment.app_id}"
    with pytest.raises(ServerError, match="CS103"):
        publish(deployment, draft)
    deployment.environment["MONGODB_URI"] = reachable
    deployment.definition = before
    deployment.database.notes.insert_one({"_id": "after"})
    deployment.wait_until_equal(zero_cache)


LARGE = 3_000
"""Characters of a text: three thousand of them are more than the sockets between a server and zero-cache hold."""


SCHEMA_CHANGES = ("create-table", "drop-table", "add-column", "truncate")
"""With one of which a switch that loads rows begins."""


@contextmanager
def held_while_switching(proxy: RecordingProxy, server: ServeCommand, number: int) -> Iterator[None]:
    """The body publishes version `number`. Afterwards zero-cache has the beginning of the transaction that switches to it,
    nothing more is passed on, and the server has not come to the end of the transaction."""
    proxy.hold(lambda frame: any(f'"tag":"{tag}"' in frame for tag in SCHEMA_CHANGES))
    yield
    assert proxy.is_held.wait(30), "no switch has begun"
    assert f"version {number} in force" not in server.log_path.read_text(), "the switch was over already"


def test_killed_while_switching(deploy: Deploy) -> None:
    """The server, the watcher and zero-cache are killed while a publish that loads thousands of rows is under way: whoever
    goes on begins the transaction again, and it counts once."""
    draft = Draft()
    deployment = deploy(draft.schema, log="redis")
    fill(deployment.database, 3_000)
    for name in ("notes", "accounts"):
        deployment.database[name].update_many({}, {"$set": {"text": "x" * LARGE}})
    watcher, first = deployment.watch(), deployment.serve()
    proxy = deployment.proxy(first)
    zero_cache = deployment.zero_cache(proxy)
    snapshot = deployment.wait_until_equal(zero_cache)
    with Workload(deployment.database, seed=1, rate=100):
        with held_while_switching(proxy, first, 2):
            add_a_column(draft)
            publish(deployment, draft)
        first.kill()
        second = deployment.serve("second")
        proxy.target = second.stream_url(deployment.token)
        proxy.release()
        wait_until(lambda: "version 2 in force" in second.log_path.read_text())
        with held_while_switching(proxy, second, 3):
            change_a_key(draft)
            publish(deployment, draft)
        watcher.kill()
        deployment.watch("second-watcher")
        proxy.go_on()
        wait_until(lambda: "version 3 in force" in second.log_path.read_text())
        with held_while_switching(proxy, second, 4):
            retype_a_column(draft)
            publish(deployment, draft)
        zero_cache.kill()
        zero_cache.start(wait=False)
    contents = deployment.wait_until_equal(zero_cache)
    assert contents.replica_version == snapshot.replica_version
    check_protocol(proxy)
