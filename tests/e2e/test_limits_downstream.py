"""The longest names and keys that can be published are such as a real zero-cache, and its clients, can take."""

from __future__ import annotations

import random
import string
from pathlib import Path
from typing import Any

import pytest

from changesource.tables.compiled_table import KEY_COLUMN_BYTES
from changesource.tables.definition import MAX_APP_ID_LENGTH, MAX_IDENTIFIER_LENGTH, MAX_KEY_BYTES
from tests.e2e.conftest import Deploy
from tests.embedded.scripted_source import ScriptedSource, create_table, insert, required_tables, transaction
from tests.node.client import ZeroClient, signed_token
from zerosources.embedded.servers import PostgresServer
from zerosources.embedded.zero_cache import ZeroCache

pytestmark = pytest.mark.timeout(300)

SECRET = "signs the tokens of these tests, nothing else"
EVERYBODY = {"row": {"select": [["allow", {"type": "and", "conditions": []}]]}}


def schema_of(table: str, *columns: str) -> dict[str, Any]:
    """Text columns, of which the first is the key."""
    types = {column: {"type": "string"} for column in columns}
    return {
        "tables": {table: {"name": table, "columns": types, "primaryKey": [columns[0]]}},
        "relationships": {},
    }


def random_text(length: int) -> str:
    """Of which PostgreSQL's compression makes nothing shorter."""
    return "".join(random.Random(length).choices(string.ascii_letters + string.digits, k=length))


def test_the_longest_key(deploy: Deploy) -> None:
    """A client sees the row with the longest key in a table with the longest name. A longer key is a row error, as zero-cache
    would disconnect each client that meets it."""
    table, column = "t" * MAX_IDENTIFIER_LENGTH, "_id"
    schema = schema_of(table, column)
    mappings = {table: {"source": "things"}}
    deployment = deploy(schema, mappings=mappings, permissions={table: {"select": [{}]}}, log="memory")
    room = MAX_KEY_BYTES - len(column) - KEY_COLUMN_BYTES
    keys = [random_text(room), random_text(8_000), "short"]
    deployment.database.things.insert_many([{"_id": key} for key in keys])
    zero_cache = deployment.zero_cache(deployment.proxy(deployment.start()), ZERO_AUTH_SECRET=SECRET)
    deployment.wait_until_equal(zero_cache)
    deployment.database.things.insert_one({"_id": random_text(9_000)})
    deployment.database.things.insert_one({"_id": "last"})
    token = signed_token(SECRET, "ada")
    with ZeroClient(zero_cache.url, schema, deployment.folder / "ada.log", user_id="ada", auth=token) as client:
        client.watch("all", table)
        rows = client.wait_for_rows("all", lambda rows: len(rows) == 3)
        assert {row["_id"] for row in rows} == {keys[0], "short", "last"}
        assert client.states.count("connected") == 1


def test_the_longest_app_id(postgres_server: PostgresServer, tmp_path: Path) -> None:
    """With a shard of four digits, a client connects and sees a row."""
    app, shard = "a" * MAX_APP_ID_LENGTH, 9_999
    *tables, _ = required_tables(app, shard)
    permissions = {"lock": True, "permissions": {"tables": {"item": EVERYBODY}}, "hash": "x"}
    snapshot = transaction(
        "101",
        *tables,
        insert(app, "permissions", ["lock"], permissions),
        *create_table("public", "item", {"id": "text"}, ["id"]),
        insert("public", "item", ["id"], {"id": "first"}),
    )
    with (
        ScriptedSource({None: snapshot}.get) as source,
        ZeroCache(
            tmp_path / "zero-cache", upstream_url=source.url, postgres=postgres_server, app_id=app, shard_num=shard
        ) as zero_cache,
        ZeroClient(zero_cache.url, schema_of("item", "id"), tmp_path / "client.log") as client,
    ):
        client.watch("all", "item")
        client.wait_for_rows("all", lambda rows: rows == [{"id": "first"}])
