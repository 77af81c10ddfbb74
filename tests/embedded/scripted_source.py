"""A change source that sends what it is told to: the least that zero-cache accepts."""

import json
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from zerosources.embedded.ports import free_port

Message = list[Any]


Answer = Callable[[str | None], Sequence[Message] | None]


class ScriptedSource:
    """A change source whose whole behaviour is `answer`.

    Args:
        answer: what to send to a zero-cache that has this `lastWatermark`, None if it wants an initial sync.

    Attributes:
        url: for ZERO_UPSTREAM_DB.
        requests: the query parameters of each connection, in order.
        acknowledged: the watermarks that zero-cache has acknowledged, in order.
    """

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        port = free_port()
        self.url = f"ws://127.0.0.1:{port}/changes/v0/stream"
        self.requests: list[dict[str, list[str]]] = []
        self.acknowledged: list[str] = []
        self._server = serve(self._stream, "127.0.0.1", port)
        self._thread = threading.Thread(target=self._server.serve_forever)

    def _stream(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        query = parse_qs(urlsplit(connection.request.path).query)
        self.requests.append(query)
        try:
            for message in self._answer(query.get("lastWatermark", [None])[0]) or ():
                connection.send(json.dumps(message))
            for frame in connection:
                self.acknowledged.append(json.loads(frame)[2]["watermark"])
        except ConnectionClosed:
            return

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()


def transaction(watermark: str, *changes: dict[str, Any]) -> list[Message]:
    return [
        ["begin", {"tag": "begin"}, {"commitWatermark": watermark}],
        *(["data", change] for change in changes),
        ["commit", {"tag": "commit"}, {"watermark": watermark}],
    ]


def create_table(schema: str, name: str, columns: dict[str, str], key: Sequence[str]) -> list[dict[str, Any]]:
    """The table and the unique index that makes it visible; columns are name → dataType, the key's are not null."""
    specs = {
        column: {"pos": position, "dataType": data_type, "notNull": column in key}
        for position, (column, data_type) in enumerate(columns.items(), start=1)
    }
    index = {
        "schema": schema,
        "name": f"{schema}_{name}_key",
        "tableName": name,
        "unique": True,
        "columns": dict.fromkeys(key, "ASC"),
    }
    return [
        {"tag": "create-table", "spec": {"schema": schema, "name": name, "columns": specs}},
        {"tag": "create-index", "spec": index},
    ]


def insert(schema: str, name: str, key: Sequence[str], row: dict[str, Any]) -> dict[str, Any]:
    relation = {"schema": schema, "name": name, "rowKey": {"columns": list(key)}}
    return {"tag": "insert", "relation": relation, "new": row}


def required_tables(app: str, shard: int) -> list[dict[str, Any]]:
    """The tables that zero-cache insists on, and the one row of permissions."""
    shard_schema = f"{app}_{shard}"
    clients = {"clientGroupID": "text", "clientID": "text", "lastMutationID": "int8", "userID": "text"}
    mutations = {
        "clientGroupID": "text",
        "clientID": "text",
        "mutationID": "int8",
        "mutation": "json",
        "result": "json",
    }
    permissions = {"lock": "bool", "permissions": "json", "hash": "text"}
    return [
        *create_table(shard_schema, "clients", clients, ["clientGroupID", "clientID"]),
        *create_table(shard_schema, "mutations", mutations, ["clientGroupID", "clientID", "mutationID"]),
        *create_table(app, "permissions", permissions, ["lock"]),
        insert(app, "permissions", ["lock"], {"lock": True, "permissions": None, "hash": None}),
    ]
