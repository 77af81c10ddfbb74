"""Random writes of every kind to the documents that `mapped_tables` maps, by one writer."""

import random
from collections.abc import Awaitable, Callable
from typing import Any

from pymongo import DeleteOne, InsertOne, ReplaceOne, UpdateOne
from pymongo.asynchronous.client_session import AsyncClientSession

from changesource.mongo.source import Database
from tests.simulation.mapped_tables import COLLECTION

IDS = tuple(f"thing{number}" for number in range(8))
CODES = ("c1", "c2", "c3", "c4")
Session = AsyncClientSession | None


class ThingWorkload:
    """Writes to `COLLECTION`. After each write or transaction, no two documents have a key in
    common.

    `kinds_written` counts the writes of each kind that changed something.
    """

    def __init__(self, database: Database, seed: int) -> None:
        self._database = database
        self._things = database[COLLECTION]
        self._random = random.Random(seed)
        self._next_item = 0
        self.kinds_written: dict[str, int] = {}

    async def write(self, count: int) -> None:
        for _ in range(count):
            await self._choose()(None)

    def _choose(self) -> Callable[[Session], Awaitable[None]]:
        kinds = (self._update, self._update, self._update, self._change_items, self._change_items, self._replace,
                 self._delete, self._insert, self._change_kind, self._touch_unpublished, self._bulk, self._hand_over_code,
                 self._move_item, self._in_transaction)  # fmt: skip
        kind = self._random.choice(kinds)
        self.kinds_written[kind.__name__] = self.kinds_written.get(kind.__name__, 0) + 1
        return kind

    def _identity(self) -> dict[str, Any]:
        return {"_id": self._random.choice(IDS)}

    def _item(self) -> dict[str, Any]:
        self._next_item += 1
        dice = self._random
        item = {"id": f"item{self._next_item}", "q": dice.choice([1, 2, 3, "many"])}
        parts = dice.choice([None, [], ["p"], ["p", {"x": 1}, ["y"]], 5])
        return item if parts is None else {**item, "parts": parts}

    def _values(self) -> dict[str, Any]:
        """Draws some fields, none of which is a key."""
        dice = self._random
        all_values = {
            "kind": dice.choice(["a", "b", 7, None]),
            "n": dice.choice([0, 1, 2, 2.5, "no number"]),
            "name": dice.choice(["12", "13", "Bern", None]),
            "tags": dice.choice([["red"], ["red", "blue"], ["red", "red"], [], "blue"]),
            "items": dice.choice([[], None, [self._item() for _ in range(dice.randrange(4))]]),
            "unpublished": dice.random(),
        }
        return {name: all_values[name] for name in dice.sample(list(all_values), dice.randint(1, 4))}

    async def _insert(self, session: Session) -> None:
        identity = self._identity()
        if not await self._things.find_one(identity, session=session):
            await self._things.insert_one({**identity, **self._values()}, session=session)

    async def _replace(self, session: Session) -> None:
        identity = self._identity()
        await self._things.replace_one(identity, {**identity, **self._values()}, upsert=True, session=session)

    async def _delete(self, session: Session) -> None:
        await self._things.delete_one(self._identity(), session=session)

    async def _update(self, session: Session) -> None:
        values = self._values()
        update: dict[str, Any] = {"$set": values}
        unset = [name for name in ("name", "n", "tags", "items", "code") if name not in values]
        if self._random.random() < 0.4:
            update["$unset"] = dict.fromkeys(self._random.sample(unset, 1), "")
        await self._things.update_one(self._identity(), update, upsert=self._random.random() < 0.3, session=session)

    async def _change_items(self, session: Session) -> None:
        updates: list[Any] = [
            {"$push": {"items": self._item()}},
            {"$push": {"items": {"$each": [self._item(), self._item()], "$position": 0}}},
            {"$push": {"items": {"$each": [self._item()], "$slice": -2}}},
            {"$pop": {"items": self._random.choice([1, -1])}},
            {"$pull": {"items": {"q": self._random.choice([1, 2])}}},
            {"$set": {"items.0.q": self._random.choice([4, 5, "many"])}},
            {"$set": {"items.1.parts.0": self._random.random()}},
            {"$unset": {"items.0.q": ""}},
            {"$push": {"items.0.parts": "more"}},
            {"$inc": {"items.$[].q": 1}},
            [{"$set": {"items": {"$slice": ["$items", 1]}}}],
        ]
        update = self._random.choice(updates)
        # Only documents that the update fits.
        matching = {
            "items.1": {"$exists": True},
            "items.0.parts.0": {"$exists": True},
            "items.1.parts.0": {"$exists": True},
        }
        if isinstance(update, dict) and "$inc" in update:
            matching = {**matching, "items.q": {"$not": {"$type": "string"}}}
        if isinstance(update, dict) and "$push" in update and "items" in update["$push"]:
            matching = {"items": {"$type": "array"}}
        if isinstance(update, dict) and ("$pop" in update or "$pull" in update):
            matching = {"items.0": {"$exists": True}}
        await self._things.update_one({**self._identity(), **matching}, update, session=session)

    async def _change_kind(self, session: Session) -> None:
        await self._things.update_one(
            self._identity(), {"$set": {"kind": self._random.choice(["a", "b"])}}, session=session
        )

    async def _touch_unpublished(self, session: Session) -> None:
        await self._things.update_many({}, {"$inc": {"touched": 1}}, session=session)

    async def _bulk(self, session: Session) -> None:
        first, second, third = self._random.sample(IDS, 3)
        await self._things.bulk_write(
            [
                UpdateOne({"_id": first}, {"$set": self._values()}),
                DeleteOne({"_id": second}),
                InsertOne({"_id": second, **self._values()}),
                ReplaceOne({"_id": third}, {"_id": third, **self._values()}),
                UpdateOne({"_id": first}, {"$set": {"name": "last"}}),
            ],
            session=session,
        )

    async def _hand_over_code(self, session: Session) -> None:
        """Takes a code away from its documents before another document gets it."""
        code = self._random.choice(CODES)
        await self._things.update_many({"code": code}, {"$set": {"code": None}}, session=session)
        await self._things.update_one(self._identity(), {"$set": {"code": code}}, session=session)

    async def _move_item(self, session: Session) -> None:
        """Takes an element with an id of its own away from one document before another gets it."""
        found = await self._things.find_one({"items.0.id": {"$exists": True}}, session=session)
        if found is None:
            return
        item = found["items"][0]
        await self._things.update_one({"_id": found["_id"]}, {"$pull": {"items": {"id": item["id"]}}}, session=session)
        where = {**self._identity(), "items": {"$type": "array"}}
        await self._things.update_one(where, {"$push": {"items": item}}, session=session)

    async def _in_transaction(self, session: Session) -> None:
        if session is not None:
            return
        async with self._database.client.start_session() as own, await own.start_transaction():
            for _ in range(self._random.randint(2, 5)):
                await self._choose()(own)
