"""A source of which the user may only read: snapshots and streams without a marker."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymongo
import pytest

from tests.e2e.conftest import Deploy
from tests.e2e.deployment import Deployment, check_protocol
from tests.e2e.workload import SCHEMA, Workload, fill
from tests.embedded.waiting import wait_until
from zerosources.embedded.servers import MongoServer

PASSWORD = "sesame-open"


class GuardedMongo(MongoServer):
    """A server that asks for a password; its URIs are those of one who may do everything."""

    def uri(self, database: str = "") -> str:
        return super().uri(database).replace("//", f"//root:{PASSWORD}@") + "&authSource=admin"

    def uri_of_reader(self, database: str) -> str:
        return self.uri(database).replace("root:", "reader:")


@pytest.fixture(scope="module")
def mongo_server(run_dir: Path) -> Iterator[GuardedMongo]:
    folder = run_dir / "mongodb-read-only"
    with MongoServer(folder) as server, pymongo.MongoClient[dict[str, Any]](server.uri()) as client:
        client.admin.command("createUser", "root", pwd=PASSWORD, roles=["root"])
        client.admin.command("createUser", "reader", pwd=PASSWORD, roles=["readAnyDatabase"])
    with GuardedMongo(folder, extra_args=["--auth"]) as server:
        yield server


def markers_of(deployment: Deployment) -> list[Any]:
    return list(deployment.database.zero_sources_markers.find())


@pytest.mark.timeout(300)
def test_snapshot_and_stream_without_markers(deploy: Deploy, log: str, mongo_server: GuardedMongo) -> None:
    """A replica whose snapshot was taken while writers ran follows them to the end; nothing was written into the source,
    and that there are no heartbeats is said once."""
    deployment = deploy(SCHEMA, log=log)
    fill(deployment.database, 2000)
    deployment.environment["MONGODB_URI"] = mongo_server.uri_of_reader(deployment.app_id)
    proxy = deployment.proxy(deployment.start())
    with Workload(deployment.database, seed=7, rate=150):
        zero_cache = deployment.zero_cache(proxy)
        wait_until(lambda: zero_cache.replica_path.exists() and len(proxy.connections) > 1, 60)
    deployment.wait_until_equal(zero_cache)
    check_protocol(proxy)
    assert markers_of(deployment) == []
    logs = "".join(path.read_text() for path in deployment.folder.rglob("*.log"))
    assert logs.count("no heartbeats") == 1
    assert "without markers" in logs
