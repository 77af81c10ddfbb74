"""Named queries: zero-cache asks the endpoint, and real clients get the rows that the rules allow."""

import json
import time
from typing import Any

import pytest

from tests.e2e.conftest import Deploy
from tests.e2e.deployment import Deployment, check_protocol, replica_or_none
from tests.e2e.recording_proxy import RecordingProxy
from tests.e2e.test_permissions import NOTES, OWN, SCHEMA, SHARED, ids
from tests.embedded.waiting import wait_until
from tests.node.client import Row, ZeroClient, signed_token
from zerosources.embedded.project import ServeCommand
from zerosources.embedded.zero_cache import ZeroCache

pytestmark = pytest.mark.timeout(300)

SECRET = "signs the tokens of users in these tests, nothing else"
ISSUER, AUDIENCE = "https://issuer.example.com/", "https://app.example.com"
NEW_RULES_SECONDS = 10
"""How soon connected clients have to see what new rules say."""
EVERYONE = {"select": [{}]}

REVOKED_SECONDS = 5
"""How soon a revoked credential of a deployment answers nothing."""
LOSES_SHARES = """
from changesource.models import Grant
grant = Grant.objects.get()
grant.all_tables, grant.tables = False, ["notes"]
grant.save()
"""


class App:
    """A deployment with the query functions of `notes_app`, and a zero-cache that asks for them."""

    def __init__(self, deploy: Deploy, schema: dict[str, Any], permissions: dict[str, Any], **options: Any) -> None:
        self.deployment: Deployment = deploy(
            schema,
            permissions=permissions,
            DJANGO_SETTINGS_MODULE="tests.e2e.settings_with_queries",
            USER_JWT_SECRET=SECRET,
            USER_JWT_ISSUER=ISSUER,
            USER_JWT_AUDIENCE=AUDIENCE,
            **options,
        )
        self.schema = schema

    def start(self) -> None:
        self.server: ServeCommand = self.deployment.start()
        self.proxy: RecordingProxy = self.deployment.proxy(self.server)
        self.zero_cache: ZeroCache = self.deployment.zero_cache(
            self.proxy,
            ZERO_QUERY_URL=f"{self.server.url}/api/zero/query",
            ZERO_QUERY_API_KEY=self.deployment.token,
            # zero-cache takes the tokens of users only if it has both.
            ZERO_MUTATE_URL=f"{self.server.url}/api/zero/mutate",
        )
        self.deployment.wait_until_equal(self.zero_cache)

    def connect(self, user: str | None = None, name: str = "", **claims: Any) -> ZeroClient:
        token = None if user is None else signed_token(SECRET, user, iss=ISSUER, aud=AUDIENCE, **claims)
        log_path = self.deployment.folder / f"{name or user or 'visitor'}.log"
        client = ZeroClient(self.zero_cache.url, self.schema, log_path, user_id=user, auth=token)
        self.deployment.stack.enter_context(client)
        return client


def shared_with(rows: list[Row]) -> dict[str, set[str]]:
    return {row["_id"]: {share["user"] for share in row["shares"]} for row in rows}


def test_users_get_the_rows_that_rules_allow(deploy: Deploy) -> None:
    """Through columns, relationships and conditions on related rows, with arguments, and also when documents change. When
    rules are published, connected clients see what these say, also those that had connected a moment before."""
    app = App(deploy, SCHEMA, {"notes": {"select": [OWN, SHARED]}, "shares": {"select": [{"user": "$auth.sub"}]}})
    database = app.deployment.database
    database.notes.insert_many(NOTES)
    database.shares.insert_many(
        [{"_id": "s1", "note": "b1", "user": "ada"}, {"_id": "s2", "note": "b1", "user": "eve"}]
    )
    app.start()
    ada, bob, visitor = app.connect("ada"), app.connect("bob"), app.connect()
    for client in (ada, bob, visitor):
        client.watch_named("all", "notes.all", [], "notes")
        client.watch_named("level", "notes.withShares", [{"level": 1}], "notes", ["related", "shares"])
        client.watch_named("shared", "notes.shared", [], "notes")
        client.watch_named("not shared", "notes.notShared", [], "notes")
    ada.wait_for_rows("all", lambda rows: ids(rows) == {"a1", "a2", "b1"})
    bob.wait_for_rows("all", lambda rows: ids(rows) == {"b1"})
    visitor.wait_for_rows("all", lambda rows: rows == [])
    # What has rules of its own shows just what these allow, although other rows of it decide about notes.
    ada.wait_for_rows("level", lambda rows: shared_with(rows) == {"a1": set(), "a2": set(), "b1": {"ada"}})
    bob.wait_for_rows("level", lambda rows: shared_with(rows) == {"b1": set()})
    error = visitor.wait_for_event("rows", query="shared", type="error")["error"]
    assert (error["message"], error["details"]) == ("Log in first.", {"why": "anonymous"})

    database.shares.delete_one({"_id": "s1"})
    database.notes.update_one({"_id": "a1"}, {"$set": {"owner": "bob"}})
    ada.wait_for_rows("all", lambda rows: ids(rows) == {"a2"})
    bob.wait_for_rows("all", lambda rows: ids(rows) == {"a1", "b1"})

    late = app.connect("ada", name="late")
    late.watch_named("all", "notes.all", [], "notes")
    late.wait_for_rows("all", lambda rows: ids(rows) == {"a2"})
    app.deployment.publish(SCHEMA, {}, {"notes": {"select": [{"level": 1, "owner": {"$ne": "$auth.sub"}}]}})
    published_at = time.monotonic()
    for client, expected in ((ada, {"a1", "b1"}), (late, {"a1", "b1"}), (bob, set())):
        client.wait_for_rows("all", lambda rows, expected=expected: ids(rows) == expected)  # type: ignore[misc]
    assert time.monotonic() - published_at < NEW_RULES_SECONDS
    for client in (ada, bob, visitor, late):
        assert client.states[-1] == "connected"
    check_protocol(app.proxy)


def test_what_a_replica_cannot_run_is_an_error_of_one_query(deploy: Deploy) -> None:
    """Names that the app does not have, a table that the deployment may not read, and arguments that do not validate. The
    client group goes on."""
    app = App(deploy, SCHEMA, {"notes": EVERYONE, "shares": EVERYONE})
    app.deployment.database.notes.insert_many(NOTES)
    app.start()
    client = app.connect("ada")
    client.watch_named("all", "notes.all", [], "notes")
    client.wait_for_rows("all", lambda rows: len(rows) == len(NOTES))
    for name, query, args in (
        ("unknown query", "notes.al", []),
        ("unknown table", "tables.all", [{"name": "node"}]),
        ("bad arguments", "notes.withShares", [{"level": {"$gt": 1}}]),
        ("no arguments", "notes.withShares", []),
        ("prototype", "tables.all", [{"name": "__proto__"}]),
    ):
        client.watch_named(name, query, args, "notes")
        error = client.wait_for_event("rows", query=name, type="error")["error"]
        assert error["error"] == "app", error
    app.deployment.database.notes.insert_one({"_id": "new"})
    client.wait_for_rows("all", lambda rows: len(rows) == len(NOTES) + 1)
    assert client.states[-1] == "connected"


def test_many_clients_live_through_a_publish(deploy: Deploy) -> None:
    """A publish drops a table that queries read, adds another one with a query of its own, and changes the rules, while 20
    clients are connected: no client group stops, and no client ends in an error."""
    old, more = (
        {"name": name, "columns": {"_id": {"type": "string"}}, "primaryKey": ["_id"]} for name in ("old", "more")
    )
    before = {**SCHEMA, "tables": {**SCHEMA["tables"], "old": old}}
    after = {**SCHEMA, "tables": {**SCHEMA["tables"], "more": more}}
    app = App(deploy, before, dict.fromkeys(("notes", "shares", "old"), EVERYONE))
    app.schema = SCHEMA
    app.deployment.database.notes.insert_many(NOTES)
    app.deployment.database.old.insert_one({"_id": "o"})
    app.deployment.database.more.insert_one({"_id": "m"})
    app.start()
    clients = [app.connect(f"user{i}") for i in range(20)]
    for client in clients:
        client.watch_named("all", "notes.all", [], "notes")
        client.watch_named("shared", "notes.shared", [], "notes")
        client.watch_named("old", "tables.all", [{"name": "old"}], "notes")
    for client in clients:
        client.wait_for_rows("all", lambda rows: len(rows) == len(NOTES))
    app.deployment.publish(
        after,
        {},
        {"notes": {"select": [{"level": 1}]}, "shares": EVERYONE, "more": EVERYONE},
        queries={"notes.late": {"table": "notes", "where": {"level": {"$gte": 1}}}},
    )
    for client in clients:
        client.wait_for_rows("all", lambda rows: ids(rows) == {"a1", "b1"})
        client.watch_named("late", "notes.late", [], "notes")
    app.deployment.database.notes.insert_one({"_id": "new", "level": 1})
    for client in clients:
        client.wait_for_rows("late", lambda rows: ids(rows) == {"a1", "b1", "new"})
        client.wait_for_rows("all", lambda rows: ids(rows) == {"a1", "b1", "new"})
        assert not {"error", "needs-auth"} & {*client.states}, json.dumps(client.events[-5:])


def test_a_deployment_that_loses_a_table_goes_on(deploy: Deploy) -> None:
    """Its grant no longer has a table that queries read, and one of them was answered a moment before: that query becomes an
    error, and no client ends in one. A credential that is revoked answers nothing more."""
    app = App(deploy, SCHEMA, {"notes": EVERYONE, "shares": EVERYONE})
    app.deployment.database.notes.insert_many(NOTES)
    app.schema = {"tables": {"notes": SCHEMA["tables"]["notes"]}, "relationships": {}}
    app.start()
    clients = [app.connect(f"user{i}") for i in range(3)]
    for client in clients:
        client.watch_named("all", "notes.all", [], "notes")
        client.watch_named("level", "notes.withShares", [{"level": 1}], "notes")
        client.wait_for_rows("level")
    app.deployment.manage("shell", "--command", LOSES_SHARES)
    for client in clients:
        client.watch_named("again", "notes.withShares", [{"level": 2}], "notes")
        assert client.wait_for_event("rows", query="again", type="error")["error"]["error"] == "app"
    wait_until(lambda: "shares" not in replica_or_none(app.zero_cache).rows, 30)
    app.deployment.database.notes.insert_one({"_id": "new"})
    for client in clients:
        client.wait_for_rows("all", lambda rows: len(rows) == len(NOTES) + 1)
        assert not {"error", "needs-auth"} & {*client.states}, json.dumps(client.events[-5:])

    app.deployment.manage("revoke_credential", "zero-cache", "--credential", "1")
    revoked_at = time.monotonic()
    for client in clients:
        client.watch_named("revoked", "notes.withShares", [{"level": 3}], "notes")
        client.wait_for_event("state", name="needs-auth")
    assert time.monotonic() - revoked_at < REVOKED_SECONDS
