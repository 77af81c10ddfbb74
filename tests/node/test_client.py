"""client.py and the Zero client behind it, on a zero-cache with a scripted change source."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.embedded.scripted_source import ScriptedSource, create_table, insert, required_tables, transaction
from tests.embedded.waiting import wait_until
from tests.node.client import ZeroClient, signed_token
from zerosources.embedded.servers import PostgresServer
from zerosources.embedded.zero_cache import ZeroCache

SECRET = "signs the tokens of these tests, nothing else"

OWN_ROWS = {
    "type": "simple",
    "op": "=",
    "left": {"type": "column", "name": "owner"},
    "right": {"type": "static", "anchor": "authData", "field": "sub"},
}
PERMISSIONS = {"tables": {"item": {"row": {"select": [["allow", OWN_ROWS]]}}}}

SCHEMA: dict[str, Any] = {
    "tables": {
        name: {
            "name": name,
            "columns": {"id": {"type": "string"}, "owner": {"type": "string", "optional": True}},
            "primaryKey": ["id"],
        }
        for name in ("item", "secret")
    },
    "relationships": {},
}


def row(table: str, row_id: str, owner: str) -> dict[str, Any]:
    return insert("public", table, ["id"], {"id": row_id, "owner": owner})


SNAPSHOT = transaction(
    "101",
    *required_tables("shop", 0),
    insert("shop", "permissions", ["lock"], {"lock": True, "permissions": PERMISSIONS, "hash": "1"}),
    *create_table("public", "item", {"id": "text", "owner": "text"}, ["id"]),
    *create_table("public", "secret", {"id": "text", "owner": "text"}, ["id"]),
    row("item", "a", "ada"),
    row("item", "b", "bob"),
    row("secret", "c", "ada"),
)
LIVE = transaction("102", row("item", "d", "ada"))


@pytest.fixture
def zero_cache(postgres_server: PostgresServer, tmp_path: Path) -> Iterator[ZeroCache]:
    """With rows of two owners, and permissions to see one's own items."""
    with (
        ScriptedSource({None: SNAPSHOT, "101": LIVE}.get) as source,
        ZeroCache(
            tmp_path / "zero-cache",
            upstream_url=source.url,
            postgres=postgres_server,
            app_id="shop",
            env={"ZERO_AUTH_SECRET": SECRET},
        ) as zero_cache,
    ):
        wait_until(lambda: source.acknowledged == ["102"])
        yield zero_cache


def ids(rows: list[dict[str, Any]]) -> list[str]:
    return [row["id"] for row in rows]


def test_queries(zero_cache: ZeroCache, tmp_path: Path) -> None:
    """A client sees the rows that its claims allow, by queries that it defines itself, until it forgets them."""
    token = signed_token(SECRET, "ada")
    with ZeroClient(zero_cache.url, SCHEMA, tmp_path / "client.log", user_id="ada", auth=token) as client:
        client.watch("all", "item")
        client.watch("some", "item", ["where", "id", "IN", ["b", "d"]], ["limit", 5])
        client.watch("hidden", "secret")
        assert client.wait_for_rows("all", lambda rows: ids(rows) == ["a", "d"])
        assert ids(client.wait_for_rows("some")) == ["d"]
        assert client.wait_for_rows("hidden") == []
        assert client.states[-1] == "connected"
        client.forget("some")
        client.watch("some", "item", ["where", "id", "a"])
        assert client.wait_for_rows("some", lambda rows: ids(rows) == ["a"])
    assert client.events[-1] == {"event": "closed"}


def test_wrong_token(zero_cache: ZeroCache, tmp_path: Path) -> None:
    """A client whose token another secret signed gets no rows before it brings a right one."""
    wrong, right = signed_token("another secret, not the one of it", "bob"), signed_token(SECRET, "bob")
    with ZeroClient(zero_cache.url, SCHEMA, tmp_path / "client.log", user_id="bob", auth=wrong) as client:
        client.watch("all", "item")
        client.wait_for_event("state", name="needs-auth")
        assert client.rows("all") is None
        client.login(right)
        assert ids(client.wait_for_rows("all")) == ["b"]


def test_schema_that_does_not_fit(zero_cache: ZeroCache, tmp_path: Path) -> None:
    """A schema with a column that the replica does not have is refused."""
    schema = json.loads(json.dumps(SCHEMA).replace("owner", "possessor"))
    token = signed_token(SECRET, "ada")
    with ZeroClient(zero_cache.url, schema, tmp_path / "client.log", user_id="ada", auth=token) as client:
        client.watch("all", "item")
        event = client.wait_for_event("updateNeeded")
    assert event["type"] == "SchemaVersionNotSupported"
    assert '"possessor"' in event["message"]


def test_command_that_cannot_be_done(tmp_path: Path) -> None:
    """It is said, and the client goes on; without a zero-cache it only tries to connect."""
    with ZeroClient("http://127.0.0.1:1", SCHEMA, tmp_path / "client.log") as client:
        client.watch("none", "nope")
        assert client.wait_for_event("refused")["command"]["table"] == "nope"
        client.watch("all", "item")
        assert client.rows("all") is None
        assert set(client.states) == {"connecting"}
        with pytest.raises(AssertionError, match=r"Not within 0\.1 s: rows of all"):
            client.wait_for_rows("all", timeout=0.1)
