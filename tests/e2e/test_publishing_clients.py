"""What connected clients of a real zero-cache notice of publishing: the new shape, and nothing else."""

import copy
from contextlib import ExitStack
from itertools import pairwise
from typing import Any

import pytest

from tests.e2e.conftest import Deploy
from tests.e2e.deployment import Deployment, check_protocol, replica_or_none
from tests.e2e.recording_proxy import RecordingProxy
from tests.e2e.test_publishing import (
    Draft,
    add_a_column,
    add_a_table,
    allow_null_again,
    change_a_filter,
    change_a_key,
    drop_a_column,
    drop_a_table,
    publish,
    rename_a_table,
    require_a_column,
    retype_a_column,
)
from tests.e2e.workload import COLLECTIONS, LEDGER, Workload, fill
from tests.embedded.waiting import wait_until
from tests.node.client import Row, ZeroClient, signed_token
from zerosources.embedded.zero_cache import ZeroCache

pytestmark = pytest.mark.timeout(300)

SECRET = "signs the tokens of these tests, nothing else"


class Watched:
    """A deployment with a zero-cache, and clients of that."""

    def __init__(self, deploy: Deploy, draft: Draft, log: str, documents: int = 50) -> None:
        self.draft = draft
        self.deployment: Deployment = deploy(
            draft.schema, mappings=draft.mappings, permissions=draft.permissions, log=log
        )
        self.stack: ExitStack = self.deployment.stack
        fill(self.deployment.database, documents)
        self.proxy: RecordingProxy = self.deployment.proxy(self.deployment.start())
        self.zero_cache: ZeroCache = self.deployment.zero_cache(self.proxy, ZERO_AUTH_SECRET=SECRET)
        self.pid = self.zero_cache.pid
        self.snapshot = self.deployment.wait_until_equal(self.zero_cache)
        self._clients = 0

    def connect(self, schema: dict[str, Any] | None = None) -> ZeroClient:
        """A client with `schema`, or with that of the draft as it is now."""
        self._clients += 1
        log_path = self.deployment.folder / f"client-{self._clients}.log"
        client = ZeroClient(
            self.zero_cache.url, schema or self.draft.schema, log_path, user_id="ada", auth=signed_token(SECRET, "ada")
        )
        return self.stack.enter_context(client)

    def publish(self, *steps: Any) -> None:
        for step in steps:
            step(self.draft)
        publish(self.deployment, self.draft)

    def wait_until_equal(self, client: ZeroClient, *names: str) -> None:
        """Waits until the replica holds what MongoDB holds, in the same process and from the same snapshot, and `client` all
        rows of the tables with these names, which it watches by the same names."""
        contents = self.deployment.wait_until_equal(self.zero_cache)
        assert contents.replica_version == self.snapshot.replica_version
        assert self.zero_cache.pid == self.pid
        expected = self.deployment.expected_rows()
        for name in names:
            client.wait_for_rows(name, lambda rows, name=name: self.comparable(name, rows) == expected[name])

    def replica_has_column(self, table: str, column: str) -> bool:
        """Whether zero-cache has followed so far; the table is not empty."""
        contents = replica_or_none(self.zero_cache, (table,))
        return contents is not None and column in contents.rows[table][0]

    def comparable(self, name: str, rows: list[Row]) -> list[Row]:
        return self.deployment.comparable({name: rows})[name]

    def watch_all(self, client: ZeroClient) -> ZeroClient:
        """`client` watches every table of the draft by its name."""
        for name in self.draft.tables:
            client.watch(name, name)
        return client


STAYS = ""
OUTCOMES = {
    add_a_table: STAYS,
    add_a_column: STAYS,
    drop_a_column: 'The "notes"."text" column does not exist',
    retype_a_column: 'upstream type "string" does not match the client type "number"',
    require_a_column: STAYS,
    allow_null_again: STAYS,
    change_a_filter: STAYS,
    rename_a_table: 'The "orders" table does not exist',
    change_a_key: 'The "accounts" table\'s primaryKey <_id> is not associated with a non-null unique index',
    drop_a_table: 'The "late" table does not exist',
}
"""What a connected client is told, whose schema is the one before the step; it stays connected where it is told nothing."""


def test_connected_client_and_each_change(deploy: Deploy) -> None:
    """A change that leaves a client's schema true leaves it connected, with the rows of the new version; any other is said
    to it as SchemaVersionNotSupported. With the schema of the new version it sees all rows of that."""
    watched = Watched(deploy, Draft(), "memory")
    client = watched.watch_all(watched.connect())
    for seed, (step, refusal) in enumerate(OUTCOMES.items()):
        watched.wait_until_equal(client, *watched.draft.tables)
        before = set(watched.draft.tables)
        with Workload(watched.deployment.database, seed=seed, rate=100):
            watched.publish(step)
        if refusal:
            event = client.wait_for_event("updateNeeded", type="SchemaVersionNotSupported")
            assert refusal in event["message"], step.__name__
            assert client.states[-1] == "error"
        else:
            watched.wait_until_equal(client, *before)
            assert_undisturbed(client)
        client.close()
        client = watched.watch_all(watched.connect())
    watched.wait_until_equal(client, *watched.draft.tables)
    check_protocol(watched.proxy)


def test_tables_that_a_publish_leaves_alone(deploy: Deploy) -> None:
    """While tables are added and rebuilt under load, clients stay connected, unaffected tables go on growing and never lose
    a row on the way, a rebuilt one is never empty, and the next write arrives."""
    watched = Watched(deploy, Draft(), "redis", documents=300)
    client = watched.watch_all(watched.connect())
    watched.wait_until_equal(client, *watched.draft.tables)
    with Workload(watched.deployment.database, seed=1, rate=150):
        watched.publish(add_a_table)
        watched.publish(add_a_column)
        wait_until(lambda: watched.replica_has_column("notes", "seen"))
        newer = watched.watch_all(watched.connect())
        newer.wait_for_rows("late")
    watched.wait_until_equal(client, *COLLECTIONS, *LEDGER)
    watched.wait_until_equal(newer, *watched.draft.tables)
    watched.deployment.database["accounts"].insert_one({"_id": "afterwards", "n": 1})
    for each in (client, newer):
        each.wait_for_rows("accounts", lambda rows: any(row["_id"] == "afterwards" for row in rows))
        assert_undisturbed(each)
    for name in LEDGER:
        histories = [{row["_id"] for row in rows} for rows in client.history(name)]
        assert all(earlier <= later for earlier, later in pairwise(histories))
        assert len(histories) > 2, "the rows arrived while it went on"
    assert all(client.history("notes"))
    assert any("seen" in row for row in newer.rows("notes") or [])
    assert watched.zero_cache.pid == watched.pid


def test_older_schema_that_names_a_dropped_column(deploy: Deploy) -> None:
    """Only clients that name the column are refused, the connected and the new ones, with its name. They keep what they have
    and see nothing more; with the new schema they see all of it."""
    watched = Watched(deploy, Draft(), "memory")
    older = watched.watch_all(watched.connect())
    without_it = copy.deepcopy(watched.draft)
    drop_a_column(without_it)
    newer = watched.connect(schema=without_it.schema)
    newer.watch("notes", "notes")
    watched.wait_until_equal(older, "notes")
    newer.wait_for_rows("notes", lambda rows: len(rows) == 50)

    watched.publish(drop_a_column)
    event = older.wait_for_event("updateNeeded", type="SchemaVersionNotSupported")
    assert event["message"] == (
        'The "notes"."text" column does not exist or is not one of the replicated columns: "_id","n","tags".'
    )
    seen_by_older = older.rows("notes")
    returning = watched.connect(schema=Draft().schema)
    returning.watch("notes", "notes")
    assert returning.wait_for_event("updateNeeded")["message"] == event["message"]
    assert returning.rows("notes") is None

    watched.deployment.database["notes"].insert_one({"_id": "afterwards", "n": 1, "text": "t"})
    watched.wait_until_equal(newer, "notes")
    assert_undisturbed(newer)
    assert older.rows("notes") == seen_by_older
    updated = watched.watch_all(watched.connect())
    watched.wait_until_equal(updated, *watched.draft.tables)


def assert_undisturbed(client: ZeroClient) -> None:
    """It connected once and has stayed connected, and nobody asked it to start again."""
    assert client.states[-1] == "connected"
    assert client.states.count("connected") == 1
    assert {event["event"] for event in client.events} == {"state", "rows"}
