"""A database with prescribed answers, as of servers that are not available here."""

from collections.abc import Callable, Mapping
from typing import Any

from pymongo.errors import OperationFailure

from changesource.mongo.source import SourceReport

REPLICA_SET = SourceReport((8, 0, 0), "replica set rs0")
SHARDED = SourceReport((8, 0, 0), "sharded cluster")


class ScriptedCollection:
    def __init__(self, answer: Any) -> None:
        self._answer = answer

    async def find_one(self, *args: Any, sort: Any = (("$natural", 1),), **options: Any) -> Any:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer[0 if sort[0][1] == 1 else -1] if self._answer else None


class ScriptedDatabase:
    """`replies` are the answers to commands, by name. `oplog` has the entries, or the error of
    reading them."""

    name = "shop"

    def __init__(self, replies: Mapping[str, Any] = {}, oplog: Any = ()) -> None:
        self._replies = replies
        self._oplog = oplog
        self.client = {"local": self}

    async def command(self, name: str, **options: Any) -> Any:
        reply = self._replies[name]
        return reply() if isinstance(reply, Callable) else reply  # type: ignore[arg-type]

    def get_collection(self, name: str, **options: Any) -> ScriptedCollection:
        assert name == "oplog.rs"
        return ScriptedCollection(self._oplog)


def refusal(code: int = 13) -> OperationFailure:
    return OperationFailure("not authorized", code, {"codeName": "Unauthorized", "code": code})
