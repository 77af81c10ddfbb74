"""Where a replica cannot be gone on with, its zero-cache is told so once, with the reason and not in a hurry; `/readyz` says
so until the next snapshot is there, which has a higher watermark."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import pymongo
import pytest

from changesource.mongo.source import APP_NAME
from changesource.protocol.closing import RESET_DELAY_SECONDS
from tests.e2e.deployment import Deployment, replica_or_none
from tests.e2e.recording_proxy import Connection, RecordingProxy
from tests.e2e.test_readiness import get
from tests.e2e.workload import SCHEMA, fill
from tests.embedded.waiting import wait_until
from tests.node.tools import ReplicaContents
from zerosources.embedded.project import ServeCommand
from zerosources.embedded.servers import MongoServer, PostgresServer, ValkeyServer
from zerosources.embedded.zero_cache import ZeroCache

pytestmark = pytest.mark.timeout(240)

OK = (200, {"status": "ok"})


class Broken:
    """A deployment on a MongoDB of its own, and a zero-cache that is started again whenever it ends."""

    def __init__(
        self, stack: ExitStack, folder: Path, postgres: PostgresServer, valkey: ValkeyServer | None = None
    ) -> None:
        self.folder = folder
        self.mongo = stack.enter_context(MongoServer(folder / "mongodb", test_commands=True))
        self.deployment = Deployment(stack, folder / "project", self.mongo, postgres, valkey, SCHEMA)
        fill(self.deployment.database, 50)
        self.watcher = self.deployment.watch() if valkey is not None else None
        self.server: ServeCommand = self.deployment.serve()
        self.proxy: RecordingProxy = self.deployment.proxy(self.server)
        self.zero_cache = ZeroCache(
            folder / "zero-cache",
            upstream_url=self.proxy.stream_url(),
            postgres=postgres,
            app_id=self.deployment.app_id,
            supervise=True,
        )
        stack.callback(self.zero_cache.stop)
        self.zero_cache.start(wait=False)

    def settled(self) -> ReplicaContents:
        """The replica, once it equals the source, some changes have come to it, and all is well."""
        wait_until(lambda: replica_or_none(self.zero_cache) is not None)
        self.deployment.wait_until_equal(self.zero_cache)
        self.deployment.database.notes.insert_many([{"n": number} for number in range(5)])
        contents = self.deployment.wait_until_equal(self.zero_cache)
        wait_until(lambda: self.readiness() == OK)
        return contents

    def readiness(self) -> tuple[int, dict[str, Any]]:
        return get(f"{self.server.url}/readyz")

    @property
    def resets(self) -> list[str]:
        """What zero-cache was told, each time."""
        return [reason for connection in list(self.proxy.connections) for reason in resets_of(connection)]

    def expect_red(self, reason: str) -> None:
        """Health says that a new replica is missing, and the log why."""
        line = f"not ready: replicas {self.deployment.app_id}: "

        def is_red() -> bool:
            status, answer = self.readiness()
            said = [text for text in self.server.log_path.read_text().splitlines() if line in text]
            return status == 503 and "replicas" in answer["reasons"] and reason in "".join(said[-1:])

        wait_until(is_red)

    def expect_new_replica(self, before: ReplicaContents) -> None:
        """Another replica takes the place of `before`, equal to the source, at a higher watermark, and health is well."""
        newest = max(
            transaction.watermark for connection in self.proxy.connections for transaction in connection.transactions()
        )

        def is_new() -> bool:
            contents = replica_or_none(self.zero_cache)
            return contents is not None and contents.replica_version != before.replica_version

        wait_until(is_new, 90)
        after = self.deployment.wait_until_equal(self.zero_cache)
        assert after.replica_version > newest
        wait_until(lambda: self.readiness() == OK)
        self.deployment.database.notes.insert_one({"n": 77})
        self.deployment.wait_until_equal(self.zero_cache)

    def expect_no_hurry(self) -> None:
        """Nobody who was told comes back earlier than the delay, or is told twice on a connection."""
        for connection, following in pairwise(self.proxy.connections):
            assert len(resets_of(connection)) <= 1
            if resets_of(connection):
                assert following.opened_at - connection.opened_at >= RESET_DELAY_SECONDS


def resets_of(connection: Connection) -> list[str]:
    messages = [json.loads(frame) for frame in connection.frames if "reset-required" in frame]
    return [message[1]["message"] for message in messages]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def test_unknown_replica(stack: ExitStack, run_dir: Path, postgres_server: PostgresServer) -> None:
    """A replica that is not registered is built again, once. Nobody is alarmed: any client can say that it has one."""
    broken = Broken(stack, run_dir / "no-way-on-unknown", postgres_server)
    before = broken.settled()
    broken.deployment.manage(
        "shell", "-v", "0", "-c", "from changesource.models import Replica; Replica.objects.all().delete()"
    )
    broken.server.restart()
    broken.expect_new_replica(before)
    assert len(broken.resets) == 1
    assert "not built from a snapshot" in broken.resets[0]
    assert broken.zero_cache.exit_statuses == [14]
    broken.expect_no_hurry()


def test_history_lost(stack: ExitStack, run_dir: Path, postgres_server: PostgresServer) -> None:
    """While MongoDB's history stays lost, zero-cache is told at most each two seconds; when it is back, all is well."""
    broken = Broken(stack, run_dir / "no-way-on-history", postgres_server)
    before = broken.settled()
    began_at = time.monotonic()
    with pymongo.MongoClient[dict[str, Any]](broken.mongo.uri()) as client:
        client.admin.command(
            {
                "configureFailPoint": "failCommand",
                "mode": "alwaysOn",
                "data": {"failCommands": ["aggregate", "getMore"], "errorCode": 286, "appName": APP_NAME},
            }
        )
        broken.expect_red("CS104")
        wait_until(lambda: len(broken.resets) >= 1)
        first_run = [reason for connection in broken.proxy.connections for reason in resets_of(connection)]
        wait_until(lambda: len(broken.resets) >= 3)
        attempts = [connection for connection in broken.proxy.connections if connection.opened_at > began_at]
        assert len(attempts) <= 1 + (time.monotonic() - began_at) / RESET_DELAY_SECONDS
        broken.expect_red("CS104")
        client.admin.command({"configureFailPoint": "failCommand", "mode": "off"})
    broken.expect_new_replica(before)
    assert len(first_run) == 1
    assert all("286" in reason for reason in broken.resets)
    assert broken.zero_cache.exit_statuses[0] == 14
    broken.expect_no_hurry()


@pytest.mark.parametrize("processes", ["restarted", "running"])
def test_another_database(
    stack: ExitStack, run_dir: Path, postgres_server: PostgresServer, valkey_server: ValkeyServer, processes: str
) -> None:
    """Another database behind the URI, or another URI, is noticed, though its change stream reaches back far enough and the
    log of the former one is still there: nothing of that is shown again."""
    folder = run_dir / f"no-way-on-another-{processes}"
    broken = Broken(stack, folder, postgres_server, valkey_server)
    deployment = broken.deployment
    before = broken.settled()
    port = None if processes == "restarted" else broken.mongo.port
    deployment.database.client.close()
    broken.mongo.stop()
    other = stack.enter_context(MongoServer(folder / "mongodb-2", port=port))
    client = stack.enter_context(pymongo.MongoClient[dict[str, Any]](other.uri(deployment.app_id)))
    deployment.database = client.get_default_database(codec_options=deployment.database.codec_options)
    # Without this it would be waited for whether the change stream shows a drop.
    deployment.database.zero_sources_markers.insert_one({"_id": f"source:{deployment.app_id}", "source": "a" * 32})
    fill(deployment.database, 20)
    deployment.database.notes.insert_one({"_id": "only in the other one"})
    if processes == "restarted":
        assert broken.watcher is not None
        for process in (broken.server, broken.watcher):
            process.stop()
        deployment.environment["MONGODB_URI"] = other.uri(deployment.app_id)
        broken.watcher = deployment.watch("watcher-2")
        broken.server = deployment.serve("serve-2")
        broken.proxy.target = broken.server.stream_url(deployment.token)
    broken.expect_red("another database is behind the URI")
    broken.expect_new_replica(before)
    assert len(broken.resets) == 1
    assert "another database is behind the URI" in broken.resets[0]
    assert broken.zero_cache.exit_statuses == [14]
    broken.expect_no_hurry()
