"""Named queries of the app whose id is in `NOTES_APP`, which is another one for each test."""

import os

from pydantic import BaseModel

from changesource.queries import ApplicationError, Caller, Query, Tables, query

APP = os.environ["NOTES_APP"]


class Level(BaseModel):
    level: int
    limit: int | None = None


class Table(BaseModel):
    name: str


@query("notes.all", app=APP)
def all_notes(q: Tables) -> Query:
    return q.notes


@query("notes.withShares", app=APP)
def with_shares(q: Tables, args: Level) -> Query:
    notes = q.notes.where("level", ">=", args.level).related("shares").order_by("_id")
    return notes if args.limit is None else notes.limit(args.limit)


@query("notes.shared", app=APP)
def shared(q: Tables, caller: Caller) -> Query:
    if caller.user_id is None:
        raise ApplicationError("Log in first.", details={"why": "anonymous"})
    return q.notes.where_exists("shares", lambda share: share.where("user", caller.user_id))


@query("notes.notShared", app=APP)
def not_shared(q: Tables) -> Query:
    return q.notes.where(lambda e: e.not_(e.exists("shares")))


@query("tables.all", app=APP)
def whole_table(q: Tables, args: Table) -> Query:
    return q[args.name]
