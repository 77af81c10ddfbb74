"""Secondary indexes in the replica of a real zero-cache."""

from __future__ import annotations

import string
from typing import Any

import pytest

from changesource.tables.definition import MAX_IDENTIFIER_LENGTH, MAX_INDEX_COLUMNS, MAX_INDEXES
from tests.e2e.conftest import Deploy
from tests.e2e.deployment import Deployment, check_protocol
from tests.embedded.waiting import wait_until
from tests.node.client import ZeroClient, signed_token
from tests.node.tools import indexes_of, query_replica
from zerosources.embedded.zero_cache import ZeroCache

pytestmark = pytest.mark.timeout(300)

SECRET = "signs the tokens of these tests, nothing else"
TEXT = {"type": "string", "optional": True}


def schema_of(table: str, *columns: str) -> dict[str, Any]:
    """Text columns beside `_id`."""
    types = {"_id": {"type": "string"}, **dict.fromkeys(columns, TEXT)}
    return {"tables": {table: {"name": table, "columns": types, "primaryKey": ["_id"]}}, "relationships": {}}


def publish(deployment: Deployment, schema: dict[str, Any], *indexes: list[str]) -> None:
    [table] = schema["tables"]
    deployment.publish(schema, {table: {"source": table, "indexes": indexes}}, {table: {"select": [{}]}})


def wait_for_indexes(zero_cache: ZeroCache, table: str, *indexes: list[str]) -> None:
    """Until the replica has these and that of the primary key."""

    def are_there() -> bool:
        zero_cache.check_running()
        return sorted(indexes_of(zero_cache.replica_path, table).values()) == sorted([["_id"], *indexes])

    wait_until(are_there, 60)


def uses_index(zero_cache: ZeroCache, column: str) -> bool:
    """Whether SQLite looks rows up by `column` rather than to read all."""
    sql = f'EXPLAIN QUERY PLAN SELECT * FROM "city" WHERE "{column}" = ? ORDER BY "_id"'  # noqa: S608
    return any(row["detail"].startswith("SEARCH") for row in query_replica(zero_cache.replica_path, sql, "x"))


def test_indexes_come_and_go_in_a_running_stream(deploy: Deploy) -> None:
    """A snapshot has those of its version; later ones are made and dropped as they are published, also with the column that
    one is of and with a table that is made again, in the same zero-cache, whose client keeps its rows meanwhile."""
    schema = schema_of("city", "land", "name", "size")
    deployment = deploy(schema, permissions={"city": {"select": [{}]}})
    deployment.database.city.insert_many(
        [{"_id": str(number), "land": f"l{number % 50}", "name": f"n{number}"} for number in range(300)]
    )
    publish(deployment, schema, ["land"])
    proxy = deployment.proxy(deployment.start())
    zero_cache = deployment.zero_cache(proxy, ZERO_AUTH_SECRET=SECRET)
    snapshot = deployment.wait_until_equal(zero_cache)
    wait_for_indexes(zero_cache, "city", ["land"])
    assert (uses_index(zero_cache, "land"), uses_index(zero_cache, "name")) == (True, False)
    pid = zero_cache.pid
    token = signed_token(SECRET, "ada")
    known = schema_of("city", "land")  # of columns that stay
    with ZeroClient(zero_cache.url, known, deployment.folder / "ada.log", user_id="ada", auth=token) as client:
        client.watch("all", "city")
        client.wait_for_rows("all", lambda rows: len(rows) == 300)
        publish(deployment, schema, ["land"], ["name", "land"])
        wait_for_indexes(zero_cache, "city", ["land"], ["name", "land"])
        assert uses_index(zero_cache, "name")
        publish(deployment, schema_of("city", "land", "size"), ["size"])
        wait_for_indexes(zero_cache, "city", ["size"])
        assert not uses_index(zero_cache, "land")
        deployment.database.city.insert_one({"_id": "new", "land": "l1"})
        client.wait_for_rows("all", lambda rows: len(rows) == 301)
        assert {len(rows) for rows in client.history("all")} == {300, 301}
        assert client.states.count("connected") == 1
    retyped = schema_of("city", "land", "size")
    retyped["tables"]["city"]["columns"]["size"] = {"type": "number", "optional": True}
    publish(deployment, retyped, ["size"], ["land"])
    wait_for_indexes(zero_cache, "city", ["land"], ["size"])
    contents = deployment.wait_until_equal(zero_cache)
    assert (contents.replica_version, zero_cache.pid) == (snapshot.replica_version, pid)
    check_protocol(proxy)


def test_the_most_and_the_longest_indexes(deploy: Deploy) -> None:
    """A table may have as many indexes, of as many columns with as long names, as can be published; a client sees rows."""
    names = [letter * MAX_IDENTIFIER_LENGTH for letter in string.ascii_lowercase + "_"]
    names += [f"{letter}{name[1:]}" for letter, name in zip("_" + string.ascii_lowercase, names, strict=True)]
    names += [f"n{number}" for number in range(MAX_INDEXES)]
    table = "t" * MAX_IDENTIFIER_LENGTH
    schema = schema_of(table, *names)
    indexes = [names[first : first + MAX_INDEX_COLUMNS] for first in range(MAX_INDEXES)]
    deployment = deploy(schema, permissions={table: {"select": [{}]}})
    deployment.database[table].insert_many([{"_id": str(number), **dict.fromkeys(names, "x")} for number in range(3)])
    zero_cache = deployment.zero_cache(deployment.proxy(deployment.start()), ZERO_AUTH_SECRET=SECRET)
    deployment.wait_until_equal(zero_cache)
    publish(deployment, schema, *indexes)
    wait_for_indexes(zero_cache, table, *indexes)
    token = signed_token(SECRET, "ada")
    with ZeroClient(zero_cache.url, schema, deployment.folder / "ada.log", user_id="ada", auth=token) as client:
        client.watch("all", table, ["where", names[0], "x"])
        client.wait_for_rows("all", lambda rows: len(rows) == 3)
    publish(deployment, schema)
    wait_for_indexes(zero_cache, table)
