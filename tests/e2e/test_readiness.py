"""`/healthz` and `/readyz`."""

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from websockets.sync.client import connect

from changesource.operations.readiness import KINDS
from changesource.protocol.watermarks import Position
from tests.e2e.conftest import Deploy
from tests.e2e.workload import SCHEMA
from tests.embedded.waiting import wait_until
from zerosources.embedded.servers import ValkeyServer

COUNT = "from changesource.models import AwaitedReplica; print(AwaitedReplica.objects.count())"


def get(url: str) -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(url, timeout=20) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_ready_with_the_log_in_memory(deploy: Deploy) -> None:
    """The server watches by itself, so it is ready soon after it started."""
    server = deploy(SCHEMA).serve()
    assert get(f"{server.url}/healthz") == (200, {"status": "ok"})
    wait_until(lambda: get(f"{server.url}/readyz") == (200, {"status": "ok"}))


def test_not_ready_without_a_watcher_or_redis(deploy: Deploy, run_dir: Path) -> None:
    """503 with the app and the reason; alive all the same; ready again when all is back."""
    with ValkeyServer(run_dir / "valkey-of-readiness") as valkey:
        deployment = deploy(SCHEMA, log="redis", REDIS_URL=valkey.url)
        server = deployment.serve()
        status, answer = get(f"{server.url}/readyz")
        assert status == 503
        assert answer["reasons"] == {"app": KINDS["app"]}
        assert f"not ready: app {deployment.app_id}: no process watches it" in server.log_path.read_text()
        deployment.watch()
        wait_until(lambda: get(f"{server.url}/readyz")[0] == 200)
        valkey.kill()
        wait_until(lambda: get(f"{server.url}/readyz")[0] == 503)
        status, answer = get(f"{server.url}/readyz")
        assert answer["reasons"] == {"app": KINDS["app"]}
        assert f"not ready: app {deployment.app_id}: CS302" in server.log_path.read_text()
        assert str(valkey.port) not in json.dumps(answer)
        assert get(f"{server.url}/healthz")[0] == 200
        valkey.start()
        wait_until(lambda: get(f"{server.url}/readyz")[0] == 200)


def test_not_ready_when_mongodb_is_away(deploy: Deploy) -> None:
    """503, without an address also in the log."""
    deployment = deploy(SCHEMA, MONGODB_URI="mongodb://user:secret@127.0.0.1:1/nowhere?replicaSet=none")
    server = deployment.serve()
    status, answer = get(f"{server.url}/readyz")
    assert status == 503
    assert answer["reasons"]["source"] == KINDS["source"]
    log = server.log_path.read_text()
    assert "not ready: source default: " in log
    assert "secret" not in log


def test_made_up_replicas(deploy: Deploy) -> None:
    """Replicas that a client only says that it has, of any shard and version and with any watermark, are missed by nobody."""
    deployment = deploy(SCHEMA)
    server = deployment.serve()
    wait_until(lambda: get(f"{server.url}/readyz") == (200, {"status": "ok"}))
    url = f"{server.stream_url(deployment.token)}?appID={deployment.app_id}"
    for shard_num in range(5):
        version, last = Position(1 << 32).watermark, Position((2**31 - shard_num) << 32).watermark
        with connect(f"{url}&shardNum={shard_num}&replicaVersion={version}&lastWatermark={last}") as connection:
            assert "reset-required" in connection.recv(timeout=20)
    assert get(f"{server.url}/readyz") == (200, {"status": "ok"})
    assert deployment.manage("shell", "-v", "0", "-c", COUNT).strip() == "0"
