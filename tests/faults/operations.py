"""Random changes of the oracle's collections, as MongoDB commands, which can be recorded and sent again."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bson import Decimal128, Int64, ObjectId
from bson.datetime_ms import DatetimeMS
from pymongo.client_session import ClientSession
from pymongo.database import Database
from pymongo.errors import OperationFailure, PyMongoError

from tests.faults.tables import ATTIC, COLLECTIONS, GRID_SIDES, GRIDS, HEAP_ITEMS, HEAPS, SLOW_COLLECTIONS

Command = dict[str, Any]

IDS_OF_WRITER = 30
"""Documents of each collection that one writer changes. Few: so that changes of one document follow each other closely."""
FIRST_SLOW_OPERATION, SLOW_OPERATION_EVERY = 100, 800
"""Of each writer: which operation is the first one that writes a slow document, and how many there are from one to the next.
Not by chance: each round has one or so, and the shortest run some."""
IMAGES = {"changeStreamPreAndPostImages": {"enabled": True}}
RENAME = "renameCollection"
ABANDON_SECONDS = 60.0
WRITES = frozenset({"insert", "update", "delete"})

NAMESPACE_NOT_FOUND, NAMESPACE_EXISTS, DUPLICATE_KEY = 26, 48, 11000
WRITE_CONFLICT, NO_SUCH_TRANSACTION = 112, 251
EXPECTED_REFUSALS = {NAMESPACE_NOT_FOUND, NAMESPACE_EXISTS, DUPLICATE_KEY, WRITE_CONFLICT, NO_SUCH_TRANSACTION}
"""Operations are chosen without looking at what is there."""


@dataclass(frozen=True)
class Operation:
    """Commands that one writer sends one after the other, in one transaction or each for itself."""

    kind: str
    commands: Sequence[Command]
    is_transaction: bool = False

    @property
    def changes_collections(self) -> bool:
        """Whether it drops, makes, renames or alters one."""
        return any(not WRITES & command.keys() for command in self.commands)

    def send(self, database: Database[dict[str, Any]]) -> int:
        """How many documents it has changed, and collections it has dropped, made or renamed.

        Raises:
            ConnectionFailure: MongoDB went away meanwhile. Some of it may have taken place.
            OperationFailure: MongoDB refused what it should not refuse.
        """
        if not self.is_transaction:
            return sum(_send(database, command, None) for command in self.commands)
        with database.client.start_session() as session:
            try:
                with session.start_transaction():
                    return sum(_send(database, command, session, is_strict=True) for command in self.commands)
            except PyMongoError as error:
                _abandon(database, session)
                if isinstance(error, OperationFailure) and (
                    error.code in EXPECTED_REFUSALS or error.has_error_label("TransientTransactionError")
                ):
                    return 0
                raise


def _abandon(database: Database[dict[str, Any]], session: ClientSession) -> None:
    """Ends a transaction of which MongoDB may not have heard that it is over: the embedded one looks for those that are too
    old only when somebody uses one, and until then whoever writes their documents waits."""
    deadline = time.monotonic() + ABANDON_SECONDS
    while True:
        try:
            database.client.admin.command({"killSessions": [session.session_id]})
            return
        except PyMongoError:
            if time.monotonic() > deadline:
                raise


def _send(
    database: Database[dict[str, Any]], command: Command, session: ClientSession | None, *, is_strict: bool = False
) -> int:
    """`is_strict`: raise any error, as it ends the transaction."""
    try:
        if RENAME in command:
            names = {RENAME: f"{database.name}.{command[RENAME]}", "to": f"{database.name}.{command['to']}"}
            database.client.admin.command({**command, **names})
            return 1
        reply = database.command(command, session=session)
    except OperationFailure as error:
        if is_strict or error.code not in EXPECTED_REFUSALS:
            raise
        return 0
    for refusal in reply.get("writeErrors", ()):
        if is_strict or refusal["code"] not in EXPECTED_REFUSALS:
            raise OperationFailure(refusal["errmsg"], refusal["code"], reply)
    return int(reply.get("nModified", reply.get("n", 1))) + len(reply.get("upserted", ()))


class Operations:
    """An endless sequence that depends on `seed` and `writer` only. Writers change documents of their own, so that no two
    documents have the same primary key once an operation has ended."""

    def __init__(self, seed: int, writer: int) -> None:
        self._dice = random.Random(f"{seed}-{writer}")
        self._writer = writer
        self._next_item = 0

    def __iter__(self) -> Iterator[Operation]:
        for number in itertools.count():
            is_slow = number % SLOW_OPERATION_EVERY == FIRST_SLOW_OPERATION
            yield self._slow_operation() if is_slow else self._operation()

    def _operation(self) -> Operation:
        dice = self._dice
        kind = dice.random()
        if kind < 0.012 and self._writer == 0:
            return self._change_of_a_collection()
        if kind < 0.10:
            number = dice.choice([2, 2, 3, 5, 12])
            return Operation("transaction", [command for _ in range(number) for command in self._writes()[1]], True)
        if kind < 0.16:
            return Operation("bulk write", self._bulk())
        return Operation(*self._writes())

    def _writes(self) -> tuple[str, list[Command]]:
        """Of documents: what kind, and the commands."""
        kinds = {
            "insert": (self._insert, 4),
            "update": (self._update, 6),
            "replace": (self._replace, 3),
            "delete": (self._delete, 3),
            "array edit": (self._edit_an_array, 6),
            "discriminator": (self._change_a_discriminator, 3),
            "key handed over": (self._hand_a_login_over, 2),
            "unpublished fields": (self._touch_what_nobody_publishes, 1),
        }
        [kind] = self._dice.choices(list(kinds), [weight for _, weight in kinds.values()])
        return kind, kinds[kind][0]()

    def _id(self, collection: str, number: int | None = None) -> Any:
        if number is None:
            number = self._dice.randrange(IDS_OF_WRITER)
        if collection != "papers":
            return f"{collection}-{self._writer}-{number}"
        unique = number * 10 + self._writer
        kinds = [f"text-{unique}", unique, Int64(2**40 + unique), unique + 0.5, ObjectId(f"{unique:024x}")]
        return [*kinds, DatetimeMS(unique), {"of": unique}, Decimal128(f"{unique}.25")][number % 8]

    def _document(self, collection: str) -> Command:
        dice = self._dice
        values: Command
        match collection:
            case "accounts":
                values = {
                    "state": dice.choice(["open", "closed", None]),
                    "n": dice.choice([0, 1, 2.5, 3, Int64(2**40), "no number"]),
                    "name": dice.choice(["Bern", "日本", "", 7, None]),
                    "tags": dice.choice([[], ["red"], ["red", {"b": 1.5}], {"a": None}]),
                }
            case "rooms":
                values = {
                    "kind": dice.choice(["chat", "group", "neither"]),
                    "name": dice.choice(["room", "ä", None]),
                    "archived": dice.choice([True, False]),
                    "members": dice.choice([[], None, [self._member() for _ in range(dice.randrange(5))]]),
                }
            case "users":
                values = {"n": dice.randrange(100)}
            case "papers":
                values = {
                    "body": dice.choice(["text", 1.5, None, [1, [2, {"x": "y"}]], {"deep": {"er": dice.random()}}]),
                    "meta": dice.choice([{"at": DatetimeMS(dice.randrange(10**12))}, {"n": Int64(2**60)}, [], True]),
                    "done": dice.choice([True, False, "perhaps"]),
                }
            case _:
                values = {
                    "tenant": dice.choice(["north", "south", "west", None]),
                    "amount": dice.choice([1, 2.5, None]),
                    "lines": [{"sku": dice.choice(["a", "b", "c"])} for _ in range(dice.randrange(4))],
                }
        return {name: values[name] for name in dice.sample(list(values), dice.randint(1, len(values)))}

    def _member(self) -> Command:
        self._next_item += 1
        user = f"user-{self._writer}-{self._next_item}"
        rights = self._dice.choice([[], ["read"], ["read", "write"], None, "all"])
        return {"user": user, "role": self._dice.choice(["owner", "guest", 3]), "rights": rights}

    def _collection(self) -> str:
        return self._dice.choice(COLLECTIONS)

    def _insert(self) -> list[Command]:
        collection = self._collection()
        numbers = self._dice.sample(range(IDS_OF_WRITER), self._dice.choice([1, 1, 4]))
        documents = {number: self._document(collection) for number in numbers}
        # Upserts, as an insert of what is there would end the transaction that it is in.
        return [
            {
                "update": collection,
                "updates": [
                    {"q": {"_id": self._id(collection, number)}, "u": {"$setOnInsert": document}, "upsert": True}
                    for number, document in documents.items()
                ],
            }
        ]

    def _update(self) -> list[Command]:
        collection = self._collection()
        values = self._document(collection)
        update: Command = {"$set": values}
        names = [name for name in ("name", "n", "tags", "body", "tenant", "kind") if name not in values]
        if self._dice.random() < 0.3:
            update["$unset"] = {self._dice.choice(names): ""}
        return [_update(collection, {"_id": self._id(collection)}, update, upsert=self._dice.random() < 0.3)]

    def _replace(self) -> list[Command]:
        return self._replace_in(self._collection())

    def _replace_in(self, collection: str) -> list[Command]:
        return [_update(collection, {"_id": self._id(collection)}, self._document(collection), upsert=True)]

    def _delete(self) -> list[Command]:
        collection = self._collection()
        numbers = self._dice.sample(range(IDS_OF_WRITER), self._dice.choice([1, 1, 3]))
        ids = [self._id(collection, number) for number in numbers]
        return [{"delete": collection, "deletes": [{"q": {"_id": {"$in": ids}}, "limit": 0}]}]

    def _edit_an_array(self) -> list[Command]:
        collection, name = self._dice.choice([("rooms", "members"), ("orders", "lines")])

        def item() -> Command:
            return self._member() if name == "members" else {"sku": self._dice.choice(["d", "e"])}

        is_array, has_two = {name: {"$type": "array"}}, {f"{name}.1": {"$exists": True}}
        matching, update = self._dice.choice(
            [
                (is_array, {"$push": {name: item()}}),
                (is_array, {"$push": {name: {"$each": [item(), item()], "$position": 0}}}),
                (is_array, {"$push": {name: {"$each": [item()], "$slice": -3}}}),
                (has_two, {"$pop": {name: self._dice.choice([1, -1])}}),
                (has_two, {"$set": {f"{name}.1": item()}}),
                (has_two, {"$unset": {f"{name}.0.rights": "", f"{name}.1.sku": ""}}),
                (has_two, [{"$set": {name: {"$slice": [f"${name}", 1]}}}]),
                ({f"{name}.rights": "read"}, {"$pull": {name: {"rights": "read"}}}),
                ({f"{name}.sku": "a"}, {"$pull": {name: {"sku": "a"}}}),
                ({f"{name}.0.rights": {"$type": "array"}}, {"$push": {f"{name}.0.rights": "more"}}),
            ]
        )
        return [_update(collection, {"_id": self._id(collection), **matching}, update)]

    def _change_a_discriminator(self) -> list[Command]:
        collection, values = self._dice.choice(
            [
                ("rooms", {"kind": self._dice.choice(["chat", "group"])}),
                ("rooms", {"archived": self._dice.random() < 0.3}),
                ("orders", {"tenant": self._dice.choice(["north", "south", "west"])}),
                ("accounts", {"state": self._dice.choice(["open", "closed"])}),
            ]
        )
        return [_update(collection, {"_id": self._id(collection)}, {"$set": values})]

    def _hand_a_login_over(self) -> list[Command]:
        """It is given up before it is taken."""
        login = f"login-{self._writer}-{self._dice.randrange(6)}"
        return [
            _update("users", {"login": login}, {"$set": {"login": None}}, multi=True),
            _update("users", {"_id": self._id("users")}, {"$set": {"login": login}}, upsert=True),
        ]

    def _touch_what_nobody_publishes(self) -> list[Command]:
        collection = self._collection()
        ids = [self._id(collection) for _ in range(3)]
        return [_update(collection, {"_id": {"$in": ids}}, {"$inc": {"touched": 1}}, multi=True)]

    def _bulk(self) -> list[Command]:
        """Several statements in a command, in order or not: what `bulkWrite` of a driver sends."""
        collection = self._collection()
        documents = self._dice.sample(range(IDS_OF_WRITER), 6)
        updates = [
            {"q": {"_id": self._id(collection, number)}, "u": {"$set": self._document(collection)}, "upsert": True}
            for number in documents
        ]
        removed = [self._id(collection, number) for number in documents[:2]]
        return [
            {"delete": collection, "deletes": [{"q": {"_id": document_id}, "limit": 1} for document_id in removed]},
            {"insert": collection, "documents": [{"_id": removed[0], **self._document(collection)}], "ordered": False},
            {"update": collection, "updates": updates, "ordered": self._dice.random() < 0.5},
        ]

    def _slow_operation(self) -> Operation:
        if self._writer == 0:
            return Operation("slow document", self._change_a_heap())
        return Operation("document beyond the budget", self._change_a_grid())

    def _change_a_heap(self) -> list[Command]:
        """Its array is there before it is pushed to, again and again."""
        heap = {"_id": f"heap-{self._writer}"}
        filled = {"$cond": [{"$isArray": ["$items"]}, "$items", {"$range": [0, HEAP_ITEMS]}]}
        fill = _update(HEAPS, heap, [{"$set": {"items": filled}}], upsert=True)
        pushes = [
            _update(HEAPS, heap, {"$push": {"items": self._dice.randrange(HEAP_ITEMS)}})
            for _ in range(self._dice.choice([1, 2]))
        ]
        cut = _update(HEAPS, heap, {"$pop": {"items": self._dice.choice([1, -1])}})
        delete: Command = {"delete": HEAPS, "deletes": [{"q": heap, "limit": 1}]}
        return self._dice.choices([[fill, *pushes], [fill, *pushes, cut], [delete]], [4, 2, 1])[0]

    def _change_a_grid(self) -> list[Command]:
        """It comes to be beyond what a document may take, and within that again."""
        grid = {"_id": f"grid-{self._writer}"}
        sides = {name: {"$range": [0, self._dice.choice(GRID_SIDES)]} for name in ("a", "b")}
        largest = {name: {"$range": [0, GRID_SIDES[-1]]} for name in ("a", "b")}
        grow = _update(GRIDS, grid, [{"$set": largest}], upsert=True)
        change = _update(GRIDS, grid, [{"$set": sides}], upsert=True)
        delete: Command = {"delete": GRIDS, "deletes": [{"q": grid, "limit": 1}]}
        kinds = [[grow], [change, grow], [grow, change], [grow, delete], [change]]
        # Where it stays so large, each snapshot and each barrier has the work.
        return self._dice.choices(kinds, [1, 1, 3, 3, 1])[0]

    def _change_of_a_collection(self) -> Operation:
        collection, other = self._dice.sample(COLLECTIONS, 2)
        made: Command = {"create": collection, **IMAGES}
        recording: Command = {"collMod": collection, **IMAGES}
        document = _update(collection, {"_id": self._id(collection)}, {"$set": {"made": True}}, upsert=True)
        everything: list[Command] = [{"create": each, **IMAGES} for each in (*COLLECTIONS, *SLOW_COLLECTIONS)]
        [operation] = self._dice.choices(
            [
                Operation("drop", [{"drop": collection}, made]),
                Operation("drop", [{"drop": collection}, document]),
                Operation("collMod", [recording]),
                Operation("rename", [{RENAME: collection, "to": ATTIC, "dropTarget": True}, made]),
                Operation("rename", [{RENAME: ATTIC, "to": collection, "dropTarget": True}, recording]),
                Operation("rename onto another", [{RENAME: collection, "to": other, "dropTarget": True}, made]),
                Operation("dropDatabase", [{"dropDatabase": 1}, *everything]),
            ],
            [4, 4, 4, 4, 4, 4, 1],
        )
        return operation


def _update(collection: str, query: Mapping[str, Any], update: Any, **options: Any) -> Command:
    return {"update": collection, "updates": [{"q": dict(query), "u": update, **options}]}
