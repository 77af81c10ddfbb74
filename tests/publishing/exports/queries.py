"""Named queries to export, over the tables of `definitions.EVERYTHING`."""

from enum import Enum
from typing import Literal

from pydantic import BaseModel, Field, field_validator

from changesource.queries import ApplicationError, Caller, Query, Tables
from changesource.queries.registry import Registry, query

APP = "shop"
registry = Registry()


class Page(BaseModel):
    size: int = 20


class Kind(Enum):
    OPEN = "open"
    CLOSED = "closed"


class Orders(BaseModel):
    customer: str
    min_price: float | None = Field(default=None, alias="minPrice")
    limit: int = 100


class Everything(BaseModel):
    text: str
    number: float
    whole: int
    flag: bool
    nothing: None
    kind: Kind
    level: Literal[1, "two", True] = Field(examples=["two"])
    names: list[str]
    mixed: list[int | str] = Field(examples=[["a"]])
    maybe: str | None
    page: Page
    free: dict[str, int] = Field(examples=[{"x": 1}])
    path: str = 'a "quoted" default'


class Optional(BaseModel):
    referrer: str | None = None
    page: Page = Page(size=5)


class Search(BaseModel):
    text: str = Field(min_length=1)

    @field_validator("text")
    @classmethod
    def stripped(cls, text: str) -> str:
        return text.strip()


class Choice(BaseModel):
    kind: Kind


@query("customers.all", app=APP, registry=registry)
def all_customers(q: Tables) -> Query:
    return q.customer


@query("customers.withEverything", app=APP, registry=registry)
def with_everything(q: Tables) -> Query:
    return (
        q.customer.where(
            lambda e: e.or_(e.exists("orders", lambda o: o.where("price", ">", 1.5)), e.not_(e.exists("labels")))
        )
        .where_exists("labels", lambda label: label.where("_id", "IN", ["a", "b"]).one(), flip=True)
        .where_exists("referred-by")
        .related("orders", lambda o: o.where("is_paid", True).order_by("price", "desc").limit(10).related("buyer"))
        .related("labels", lambda label: label.where("_id", "!=", "x"))
        .order_by("referrer")
        .order_by("_id", "desc")
        .start({"referrer": None, "_id": "c"}, inclusive=True)
        .limit(50)
    )


@query("customers.byId", app=APP, registry=registry)
def by_id(q: Tables, args: Orders) -> Query:
    return q.customer.where("_id", args.customer).related("referred-by").one()


@query("customers.referredBy", app=APP, registry=registry)
def referred_by(q: Tables, args: Optional) -> Query:
    return q.customer.where("referrer", "IS", args.referrer).limit(args.page.size)


@query("customers.search", app=APP, registry=registry)
def search(q: Tables, args: Search) -> Query:
    return q.customer.where("_id", "LIKE", args.text)


@query("customers.ofKind", app=APP, registry=registry)
def of_kind(q: Tables, args: Choice) -> Query:
    return q.customer.where("_id", "open") if args.kind is Kind.OPEN else q.customer


@query("orders.ofCustomer", app=APP, registry=registry)
def orders(q: Tables, args: Orders) -> Query:
    found = q["order-items"].where("customer", args.customer)
    return found.limit(args.limit) if args.min_price is None else found.where("price", ">=", args.min_price)


@query("orders.mine", app=APP, registry=registry)
def mine(q: Tables, caller: Caller) -> Query:
    if caller.user_id is None:
        raise ApplicationError("Log in first.")
    return (
        q["order-items"]
        .where("customer", caller.user_id)
        .where(
            lambda e: e.or_(
                e.cmp("price", ">", caller.claims["min-price"]), e.cmp_lit(caller.claims.get("role"), "=", "admin")
            )
        )
    )


@query("orders.untagged", app=APP, registry=registry)
def untagged(q: Tables) -> Query:
    return q["order-items"].where("tags", "IS", None)


@query("orders.none", app=APP, registry=registry)
def nothing(q: Tables) -> Query:
    return q["order-items"].where(lambda e: e.or_())


@query("everything", app=APP, registry=registry)
def everything(q: Tables, args: Everything, caller: Caller) -> Query:
    return (
        q["order-items"]
        .where("class", args.text)
        .where("price", args.number)
        .where("is_paid", args.flag)
        .where("customer", "IN", args.names)
        .where("class", "NOT IN", args.mixed)
        .where("class", args.maybe)
        .where("class", args.level)
        .where("class", "IN", [args.path, "a"])
        .where("price", args.free["x"])
        .where(lambda e: e.cmp_lit(args.text, "IN", [args.maybe, "b"]))
        .start({"class": args.path, "price": args.number, "customer": args.maybe})
        .limit(args.page.size)
    )


class Misfits(BaseModel):
    number: int
    texts: list[str]


@query("misfits.value", app=APP, registry=registry)
def misfit(q: Tables, args: Misfits) -> Query:
    return q.customer.where("_id", args.number)


@query("misfits.list", app=APP, registry=registry)
def misfit_list(q: Tables, args: Misfits) -> Query:
    return q["order-items"].where("price", "IN", args.texts)


@query("misfits.limit", app=APP, registry=registry)
def misfit_limit(q: Tables, args: Misfits) -> Query:
    return q.customer.limit(args.texts)


@query("misfits.whole", app=APP, registry=registry)
def misfit_whole(q: Tables, args: Misfits, caller: Caller) -> Query:
    return q.customer.where("_id", caller.claims)


@query("missing.table", app=APP, registry=registry)
def missing(q: Tables) -> Query:
    return q.nope


WRITTEN = {
    "written.byCustomer": {
        "args": {"customer": "string", "prices": "number[]", "least": "number?"},
        "table": "order-items",
        "where": {
            "customer": "$args.customer",
            "price": {"$in": "$args.prices"},
            "$or": [{"price": {"$gte": "$args.least"}}, {"class": {"$ne": "$auth.role"}}],
        },
        "related": [{"relationship": "buyer"}],
        "orderBy": [["price", "desc"]],
        "limit": 5,
    },
    "written.labelled": {
        "table": "customer",
        "where": {"$exists": {"relationship": "labels", "where": {"_id": "x"}}},
        "related": [{"relationship": "labels", "where": {"_id": {"$ne": None}}}],
        "one": True,
    },
}
"""Queries as the definition of an app has them."""
