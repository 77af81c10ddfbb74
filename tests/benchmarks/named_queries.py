"""`python -m tests.benchmarks.named_queries`: what an answer to zero-cache costs.

The handler's processor time is compared with that of `handleQueryRequest` of @rocicorp/zero, which puts no rules in; an
answer over HTTP with an empty POST to the same server. Everything is measured in one run: read the ratios.
"""

from __future__ import annotations

import gc
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from changesource.protocol.transforms import parse_transform, query_response
from changesource.publishing.exports.zero_json import zero_schema
from changesource.queries import Caller, Query, Tables, query
from changesource.queries.registry import Registry
from changesource.queries.transform import Transformer, replica_tables
from changesource.tables.definition import AppDefinition
from tests.e2e.deployment import Deployment
from tests.rules.schema import ISSUE, LABEL, LABELLING, MEMBER, RELATIONSHIPS, connection
from zerosources.embedded import EMBEDDED_DIR
from zerosources.embedded.node import ensure_packages, node_environment, node_executable
from zerosources.embedded.servers import MongoServer, PostgresServer

QUERIES = 20
SECONDS = 1.0
REPEATS = 3
REQUESTS = 300
RULE = '{"select": [{"$exists": {"relationship": "%s", "where": {"%s": "$auth.sub"}}}]}'
OWN = '{"select": [{"user": "$auth.sub"}, {"level": {"$gte": 3}}]}'

BY_NUMBER = {
    "args": {"number": "number"},
    "table": "issue",
    "where": {"number": "$args.number"},
    "related": [{"relationship": "members"}, {"relationship": "labels"}],
    "orderBy": [["text", "asc"]],
    "limit": 100,
}
"""The written query of this name. `own_cost` has it as a function."""
LABELS = [connection("id", "labelling", "issueId"), connection("labelId", "label", "id")]


class Number(BaseModel):
    number: int


def definition() -> AppDefinition:
    """Two relationships, one of them through a junction, and a rule with `$exists` for the table that queries begin at."""
    tables = (
        replace(ISSUE, permissions=RULE % ("members", "user")),
        replace(MEMBER, permissions=OWN),
        replace(LABEL, permissions='{"select": [{}]}'),
        replace(LABELLING, permissions='{"select": [{}]}'),
    )
    relationships = {**RELATIONSHIPS, "issue": {**RELATIONSHIPS["issue"], "labels": LABELS}}
    return AppDefinition("shop", "default", tables, relationships)


def permissions() -> dict[str, Any]:
    return {table.name: json.loads(table.permissions) for table in definition().tables}


def body() -> list[Any]:
    return ["transform", requests()]


def requests(count: int = QUERIES) -> list[dict[str, Any]]:
    return [{"id": f"hash{i}", "name": "issues.byNumber", "args": [{"number": i}]} for i in range(count)]


def main() -> None:
    costs = [(reference_cost(), own_cost()) for _ in range(REPEATS)]
    reference, ours = (min(each) for each in zip(*costs, strict=True))  # what is slower has been disturbed
    print(f"{QUERIES} queries with two relationships, and a rule with $exists; milliseconds for one request")
    print(
        f"processor time of the handler: handleQueryRequest {reference:.3f}   ours {ours:.3f}   "
        f"ratio {ours / reference:.2f}"
    )
    over_http()


def reference_cost() -> float:
    """Processor time of `handleQueryRequest` from the text of a request to that of its answer, in milliseconds."""
    given = {"schema": zero_schema(definition()), "queries": requests(), "seconds": SECONDS}
    done = subprocess.run(
        [str(node_executable()), str(Path(__file__).with_name("handle_queries.mjs"))],
        env={**node_environment(), "ZERO_NODE_MODULES": str(ensure_packages())},
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=True,
    )
    return float(json.loads(done.stdout)["cpu"])


def own_cost() -> float:
    """Processor time from the bytes of a request to those of its answer, in milliseconds."""
    registry = Registry()

    @query("issues.byNumber", app="shop", registry=registry)
    def by_number(q: Tables, args: Number) -> Query:
        return q.issue.where("number", args.number).related("members").related("labels").order_by("text").limit(100)

    app = definition()
    transformer = Transformer(app, [replica_tables(app)], registry)
    content = json.dumps(body()).encode()
    caller = Caller("ada", {"sub": "ada"})

    def once() -> None:
        transformed = transformer.transform(parse_transform(content), caller)
        assert all(each.outcome == "ast" for each in transformed)
        query_response("ada", [each.answer for each in transformed])

    with collecting_as_in_serve():
        for _ in range(20):
            once()
        count, began, ends = 0, time.process_time(), time.perf_counter() + SECONDS
        while time.perf_counter() < ends:
            once()
            count += 1
        return (time.process_time() - began) / count * 1000


@contextmanager
def collecting_as_in_serve() -> Iterator[None]:
    """Python's garbage collection as in `housekeeping.GarbageCollection`, which needs Django."""
    usual = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 1_000_000_000, 1_000_000_000)
    try:
        yield
    finally:
        gc.set_threshold(*usual)
        gc.unfreeze()


def over_http() -> None:
    EMBEDDED_DIR.mkdir(exist_ok=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=EMBEDDED_DIR, prefix="bench-")))
        mongo = stack.enter_context(MongoServer(folder / "mongodb"))
        postgres = PostgresServer(folder / "postgres")  # not started: no zero-cache takes part
        app = definition()
        deployment = Deployment(
            stack,
            folder / "app",
            mongo,
            postgres,
            None,
            zero_schema(app),
            permissions=permissions(),
            REQUESTS_PER_ADDRESS="0",
        )
        deployment.publish(zero_schema(app), {}, permissions(), {"issues.byNumber": BY_NUMBER})
        server = deployment.start()
        address = f"/api/zero/query?schema={deployment.app_id}_0&appID={deployment.app_id}"
        headers = {"X-Api-Key": deployment.token, "Content-Type": "application/json"}
        http = HTTPConnection("127.0.0.1", server.port)
        content = json.dumps(body())
        empty = sorted(timed(http, "/healthz", "", {}) for _ in range(REQUESTS))
        ours = sorted(timed(http, address, content, headers) for _ in range(REQUESTS))
        for name, quantile in (("p50", 0.5), ("p99", 0.99)):
            us, theirs = (each[int(quantile * REQUESTS)] * 1000 for each in (ours, empty))
            print(f"over HTTP, {name}: empty POST {theirs:.2f}   ours {us:.2f}   difference {us - theirs:.2f}")
        print(
            f"over HTTP, mean: empty POST {statistics.mean(empty) * 1000:.2f}   ours {statistics.mean(ours) * 1000:.2f}"
        )


def timed(http: HTTPConnection, address: str, content: str, headers: dict[str, str]) -> float:
    began = time.perf_counter()
    http.request("POST", address, content, headers)
    answer = http.getresponse().read()
    if content:
        assert b'"ast"' in answer, answer
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
