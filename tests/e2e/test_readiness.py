"""`/healthz` and `/readyz`."""

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.e2e.conftest import Deploy
from tests.e2e.workload import SCHEMA
from tests.embedded.waiting import wait_until
from zerosources.embedded.servers import ValkeyServer


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
        assert answer["reasons"] == {f"app {deployment.app_id}": "nobody watches it; run manage.py watch_changes"}
        deployment.watch()
        wait_until(lambda: get(f"{server.url}/readyz")[0] == 200)
        valkey.kill()
        status, answer = get(f"{server.url}/readyz")
        assert status == 503
        assert "CS302" in answer["reasons"][f"app {deployment.app_id}"]
        assert str(valkey.port) not in json.dumps(answer)
        assert get(f"{server.url}/healthz")[0] == 200
        valkey.start()
        wait_until(lambda: get(f"{server.url}/readyz")[0] == 200)


def test_not_ready_when_mongodb_is_away(deploy: Deploy) -> None:
    """503 with the source's name and no address."""
    deployment = deploy(SCHEMA, MONGODB_URI="mongodb://user:secret@127.0.0.1:1/nowhere?replicaSet=none")
    status, answer = get(f"{deployment.serve().url}/readyz")
    assert status == 503
    assert "source default" in answer["reasons"]
    assert "secret" not in json.dumps(answer)
    assert "127.0.0.1" not in json.dumps(answer)
