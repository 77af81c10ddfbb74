"""`python -m tests.benchmarks.added_column [--documents N] [--case NAME]`: publishes that add a column to a large table.

For each: how long it takes the server to send it, how long a change that is written then takes to reach a client, the memory
of the server, and what the client sees meanwhile. A required column makes the whole table again, as a comparison.
"""

from __future__ import annotations

import argparse
import os
import re
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.e2e.deployment import Deployment
from tests.embedded.waiting import wait_until
from tests.node.client import ZeroClient, signed_token
from tests.node.tools import ReplicaError, query_replica
from zerosources.embedded import EMBEDDED_DIR
from zerosources.embedded.project import ServeCommand
from zerosources.embedded.servers import MongoServer, PostgresServer
from zerosources.embedded.zero_cache import ZeroCache

SECRET = "signs the tokens of this measurement, nothing else"
GROUPS = 10_000
LONG_SECONDS = 3600.0
COLUMNS: dict[str, dict[str, Any]] = {
    "_id": {"type": "string"},
    "group": {"type": "number"},
    "text": {"type": "string"},
}
PERMISSIONS = {"items": {"select": [{}]}}
ADDED = {
    "optional, in no document": {"none": {"type": "number", "optional": True}},
    "optional, in one of ten": {"some": {"type": "number", "optional": True}},
    "optional, in all": {"every": {"type": "number", "optional": True}},
    "required": {"required": {"type": "number"}},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--case", choices=ADDED, help="all of them, one after the other, without it")
    options = parser.parse_args()
    count = options.documents
    cases = [options.case] if options.case else list(ADDED)
    EMBEDDED_DIR.mkdir(exist_ok=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=EMBEDDED_DIR, prefix="bench-")))
        # This server reads its whole oplog whenever a change stream is opened.
        mongo = stack.enter_context(MongoServer(folder / "mongodb", oplog_max_entries=5_000))
        postgres = stack.enter_context(PostgresServer(folder / "postgres"))
        deployment = Deployment(
            stack, folder / "project", mongo, postgres, None, schema_of(COLUMNS), permissions=PERMISSIONS
        )
        fill(deployment, count)
        measure(deployment, deployment.serve(), count, cases)


def schema_of(columns: dict[str, Any]) -> dict[str, Any]:
    return {"tables": {"items": {"name": "items", "columns": columns, "primaryKey": ["_id"]}}, "relationships": {}}


def fill(deployment: Deployment, count: int) -> None:
    for first in range(0, count, 10_000):
        deployment.database.items.insert_many(
            {
                "_id": f"item-{number}",
                "group": number % GROUPS,
                "text": "some text " * 10,
                **({"some": number} if number % 10 == 0 else {}),
                "every": number,
                "required": number,
            }
            for number in range(first, min(count, first + 10_000))
        )


def measure(deployment: Deployment, server: ServeCommand, count: int, cases: Sequence[str]) -> None:
    zero_cache = ZeroCache(
        deployment.folder / "zero-cache",
        upstream_url=server.stream_url(deployment.token),
        postgres=deployment.postgres,
        app_id=deployment.app_id,
        env={"ZERO_AUTH_SECRET": SECRET},
    )
    deployment.stack.callback(zero_cache.stop)
    started = time.monotonic()
    zero_cache.start(wait=False)
    wait_until(lambda: has_all(zero_cache, count), LONG_SECONDS)
    print(f"{count:,} rows, in the replica after a snapshot of {time.monotonic() - started:.1f} s")
    token = signed_token(SECRET, "ada")
    log = deployment.folder / "client.log"
    with ZeroClient(zero_cache.url, schema_of(COLUMNS), log, user_id="ada", auth=token) as client:
        client.watch("group", "items", ["where", "group", 1])
        size = len(client.wait_for_rows("group"))
        columns = dict(COLUMNS)
        for case in cases:
            columns |= ADDED[case]
            size = measure_one(deployment, server, zero_cache, client, case, columns, size)
            assert client.states.count("connected") == 1


def measure_one(
    deployment: Deployment,
    server: ServeCommand,
    zero_cache: ZeroCache,
    client: ZeroClient,
    case: str,
    columns: dict[str, Any],
    size: int,
) -> int:
    """Prints a line. How many rows the client has afterwards."""
    switches, seen = len(switch_seconds(server)), len(client.history("group"))
    Path(f"/proc/{server.pid}/clear_refs").write_text("5")  # what was most until now is forgotten
    before = memory_mib(server, "VmRSS")
    deployment.publish(schema_of(columns), {}, PERMISSIONS)
    written = time.monotonic()
    new = {"_id": f"new-{os.urandom(4).hex()}", "group": 1, "text": "new", "every": 0, "required": 0}
    deployment.database.items.insert_one(new)

    def has_arrived() -> bool:
        zero_cache.check_running()
        return len(switch_seconds(server)) > switches and len(client.rows("group") or []) == size + 1

    wait_until(has_arrived, LONG_SECONDS)
    reached = time.monotonic() - written
    sizes = [len(rows) for rows in client.history("group")[seen:]]
    print(
        f"{case}: sent within {switch_seconds(server)[-1]:.1f} s, the next change reached the client after {reached:.1f} s, "
        f"memory of the server {before:.0f} MiB, {memory_mib(server, 'VmHWM') - before:.0f} MiB more at most; "
        f"the client saw {size} rows, then {sizes}",
        flush=True,
    )
    return size + 1


def has_all(zero_cache: ZeroCache, count: int) -> bool:
    zero_cache.check_running()
    try:
        return query_replica(zero_cache.replica_path, 'SELECT count(*) AS n FROM "items"') == [{"n": count}]
    except ReplicaError:
        return False


def switch_seconds(server: ServeCommand) -> list[float]:
    """Of each publish that the server has sent, how long that took."""
    log = server.log_path.read_text(encoding="utf-8")
    return [float(seconds) for seconds in re.findall(r"version \d+ in force after ([\d.]+) s", log)]


def memory_mib(server: ServeCommand, name: str) -> float:
    [line] = [
        line for line in Path(f"/proc/{server.pid}/status").read_text().splitlines() if line.startswith(f"{name}:")
    ]
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
