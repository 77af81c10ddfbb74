"""Several servers, several zero-caches, one change stream."""

import statistics
import time
import uuid

import pytest

from changesource.replication.feed import POLL_SECONDS
from tests.e2e.conftest import Deploy
from tests.e2e.deployment import Deployment, check_protocol, replica_or_none
from tests.e2e.recording_proxy import RecordingProxy
from tests.e2e.workload import SCHEMA, Workload, fill
from tests.embedded.waiting import wait_until

pytestmark = pytest.mark.timeout(300)


def open_change_streams(deployment: Deployment) -> int:
    """Change streams that are open on the deployment's database, on the MongoDB server."""
    operations = deployment.client.admin.command({"currentOp": 1, "$all": True})["inprog"]
    namespace = f"{deployment.app_id}.$cmd.aggregate"
    return sum(1 for operation in operations if operation["type"] == "idleCursor" and operation["ns"] == namespace)


CROSSINGS = 9


def crossing_seconds(deployment: Deployment, proxy: RecordingProxy) -> float:
    """From a write to MongoDB until its row is sent by the server, which is another process than the watcher."""
    document_id = f"crossing-{uuid.uuid4().hex}"
    frames = proxy.connections[-1].frames
    before = len(frames)
    began = time.monotonic()
    deployment.database.notes.insert_one({"_id": document_id})
    wait_until(lambda: any(document_id in frame for frame in frames[before:]))
    return time.monotonic() - began


def test_two_servers_and_two_zero_caches(deploy: Deploy) -> None:
    """Both replicas, each on a server of its own, equal MongoDB; MongoDB has one change stream for all of them."""
    deployment = deploy(SCHEMA, log="redis")
    fill(deployment.database, 1_000)
    deployment.watch("watcher-1")
    deployment.watch("watcher-2")
    proxies = [deployment.proxy(deployment.serve(name)) for name in ("serve-1", "serve-2")]
    with Workload(deployment.database, seed=4) as workload:
        zero_caches = [deployment.zero_cache(proxy, shard_num=i) for i, proxy in enumerate(proxies)]
        wait_until(lambda: all(len(proxy.connections) >= 2 for proxy in proxies))
        before = workload.writes
        wait_until(lambda: workload.writes > before + 1_000)
        wait_until(lambda: open_change_streams(deployment) == 1)
        after = workload.writes
        wait_until(lambda: workload.writes > after + 500)
        assert open_change_streams(deployment) == 1
    for zero_cache, proxy in zip(zero_caches, proxies, strict=True):
        deployment.wait_until_equal(zero_cache)
        check_protocol(proxy)


def test_another_server_takes_over(deploy: Deploy) -> None:
    """A replica that was built by one server goes on with another, at its watermark. There, a change comes when the watcher
    has rung, not when the server looks at the log by itself."""
    deployment = deploy(SCHEMA, log="redis")
    fill(deployment.database, 200)
    deployment.watch()
    first, second = deployment.serve("serve-1"), deployment.serve("serve-2")
    proxy = deployment.proxy(first)
    zero_cache = deployment.zero_cache(proxy)
    snapshot = deployment.wait_until_equal(zero_cache)
    proxy.target = second.stream_url(deployment.token)
    first.kill()
    deployment.database.notes.insert_many([{"n": i} for i in range(50)])
    contents = deployment.wait_until_equal(zero_cache)

    assert contents.replica_version == snapshot.replica_version
    assert proxy.connections[-1].last_watermark >= snapshot.watermark
    seconds = statistics.median(crossing_seconds(deployment, proxy) for _ in range(CROSSINGS))
    assert seconds < POLL_SECONDS / 2, f"half of {CROSSINGS} changes took more than {seconds:.2f} s"
    check_protocol(proxy)


def test_a_publish_that_starts_over(deploy: Deploy) -> None:
    """`publish --reset` ends open streams with `reset-required`, once; the snapshot that follows has a higher watermark."""
    deployment = deploy(SCHEMA)
    fill(deployment.database, 50)
    server = deployment.start()
    proxy = deployment.proxy(server)
    zero_cache = deployment.zero_cache(proxy)
    first = deployment.wait_until_equal(zero_cache)
    wait_until(lambda: len(proxy.connections) == 2)
    deployment.manage("publish", deployment.app_id, "--reset")
    wait_until(lambda: not zero_cache.is_running)
    assert zero_cache.exit_status == 14
    zero_cache.stop()
    zero_cache.start(wait=False)
    wait_until(lambda: (found := replica_or_none(zero_cache)) and found.replica_version != first.replica_version)
    second = deployment.wait_until_equal(zero_cache)

    assert second.replica_version > first.replica_version
    assert sum(frame.startswith('["control"') for frame in proxy.frames) == 1
    check_protocol(proxy)
