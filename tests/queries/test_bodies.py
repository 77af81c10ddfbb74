"""What is known of a query function for all arguments."""

from collections.abc import Callable
from enum import Enum
from typing import Annotated, Any

import pytest
from pydantic import AfterValidator, AliasChoices, BaseModel, Field

from changesource.queries import Caller, Query, Tables
from changesource.queries.arguments import Arguments, UnclearArgument
from changesource.queries.bodies import Built, IfNull, NoBody, Unusable, body_of
from changesource.queries.registry import InvalidDeclaration, NamedQuery, Registry, query
from changesource.rules.checks import RuleScope
from tests.publishing.exports.definitions import EVERYTHING

TABLES = Tables(RuleScope(EVERYTHING))


class Kind(Enum):
    OPEN = "open"
    CLOSED = "closed"


class Inner(BaseModel):
    size: int = 3


class Values(BaseModel):
    text: str
    kind: Kind
    flag: bool
    maybe: str | None = None
    other: str | None = None
    third: str | None = None
    fourth: str | None = None
    fifth: str | None = None
    trimmed: Annotated[str, AfterValidator(str.strip)]
    made: str = Field(default_factory=lambda: "x")
    choice: str = Field(default="", validation_alias=AliasChoices("a", "b"))
    renamed: str = Field(default="", alias="newName")
    inner: Inner = Inner()

    @property
    def shout(self) -> str:
        return self.text.upper()


def named(function: Callable[..., Query]) -> NamedQuery:
    takes_caller = function.__code__.co_argcount > 2
    return NamedQuery("q", "shop", function, Values, takes_caller)


def customers(condition: Callable[[Any], Any]) -> Callable[[Tables, Any], Query]:
    return lambda q, args: q.customer.where("_id", condition(args))


def test_a_function_that_uses_values_has_a_body() -> None:
    """Values stand in it as parameters, under the names of the function."""
    body = body_of(named(customers(lambda args: args.renamed)), TABLES)
    assert isinstance(body, Built)
    assert body.ast["where"]["right"] == {"type": "parameter", "anchor": "args", "path": ["renamed"]}


def test_a_question_for_none_makes_two_bodies() -> None:
    """A trace alone would have said that there is always a limit."""
    body = body_of(named(lambda q, args: q.customer if args.maybe is None else q.customer.limit(1)), TABLES)
    assert body == IfNull(
        ("args", ("maybe",)),
        Built({"table": "customer"}, frozenset()),
        Built({"table": "customer", "limit": 1}, frozenset()),
    )


def test_a_value_that_may_be_null_and_is_only_compared_makes_one_body() -> None:
    """With null it is the same query, with null in it."""
    assert isinstance(body_of(named(customers(lambda args: args.maybe)), TABLES), Built)


def test_a_function_that_refuses_visitors_has_the_body_for_users() -> None:
    """The server answers visitors with an error, whatever their clients show."""

    def mine(q: Tables, args: Any, caller: Caller) -> Query:
        assert caller.user_id is not None
        return q.customer.where("_id", caller.user_id)

    assert isinstance(body_of(named(mine), TABLES), Built)


def test_too_many_questions_for_none_make_no_body() -> None:
    """Each would double it."""

    def function(q: Tables, args: Any) -> Query:
        given = [args.maybe, args.other, args.third, args.fourth, args.fifth]
        return q.customer.limit(sum(value is None for value in given))

    assert "args.fifth" in reason(function)


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (lambda args: "a" if args.flag else "b", "depends on the value of args.flag"),
        (lambda args: "a" if args.flag is True else "b", "does not follow"),
        (lambda args: "a" if args.kind is Kind.CLOSED else "b", "args.kind does not follow"),
        (lambda args: args.trimmed, "does not follow"),
        (lambda args: args.shout, "args.shout is worked out by the server"),
        (lambda args: args.text.real, "args.text.real is worked out by the server"),
        (lambda args: args.made, "args.made has a default that is worked out by the server"),
        (lambda args: args.choice, "args.choice has an alias that is not one name"),
        (lambda args: args.text + "x", "depends on the value of args.text"),
        (lambda args: {}[args.text], "KeyError"),
    ],
)
def test_what_a_client_could_not_do_makes_no_body(condition: Callable[[Any], Any], message: str) -> None:
    """Also what a trace does not notice: questions of identity, and models that change values."""
    assert message in reason(customers(condition))


def test_a_function_that_refuses_every_example_has_no_body() -> None:
    """Nothing was compared with what was traced, which may be anything."""

    def function(q: Tables, args: Any) -> Query:
        if args.kind is Kind.OPEN or args.kind is Kind.CLOSED:
            raise ValueError("always, but for a trace")
        return q.customer.where("_id", args.text)

    assert reason(function).startswith("It refuses every example of arguments and callers")
    wrong_kind = named(lambda q, args: q["order-items"].where("price", args.text))
    assert isinstance(body_of(wrong_kind, TABLES), NoBody)


class Numbered(BaseModel):
    number: str = Field(pattern=r"^A-\d{6}$")


class Exemplary(BaseModel):
    number: str = Field(pattern=r"^A-\d{6}$", examples=["A-000001"])
    other: str | None = Field(None, pattern="^x", examples=["xy"])


def test_arguments_of_which_no_example_is_found_make_no_body() -> None:
    """Until their fields have examples."""
    for model, is_known in ((Numbered, False), (Exemplary, True)):
        query = NamedQuery("q", "shop", customers(lambda args: args.number), model, takes_caller=False)
        body = body_of(query, TABLES)
        assert isinstance(body, Built) == is_known
        assert is_known or body.reason.startswith("No example of its arguments was found")
    assert list(Arguments(Exemplary).examples()) == [
        ("", {"number": "A-000001", "other": "xy"}),
        ("other", {"number": "A-000001", "other": None}),
        ("other", {"number": "A-000001"}),
    ]


@pytest.mark.parametrize(
    ("column", "claim"),
    [("customer", ["name"]), ("price", ["level"]), ("is_paid", ["org", "paid"]), ("price", ["org", "levels"])],
)
def test_examples_of_callers_have_claims_of_the_kind_that_is_needed(column: str, claim: list[str]) -> None:
    """A function that refuses visitors, and takes a number as a claim, has a body all the same."""

    def function(q: Tables, args: Any, caller: Caller) -> Query:
        assert caller.user_id is not None
        value: Any = caller.claims
        for name in claim:
            value = value[name]
        operator = "IN" if claim[-1].endswith("s") else "="
        return q["order-items"].where(column, operator, value)

    assert isinstance(body_of(named(function), TABLES), Built)


def test_claims_of_a_user_are_compared() -> None:
    """And not only what a visitor gets."""

    def function(q: Tables, args: Any, caller: Caller) -> Query:
        level = caller.claims["level"]
        return q["order-items"].where("price", 4 if isinstance(level, int) else level)

    assert "does not follow" in reason(function)


def reason(function: Callable[..., Query]) -> str:
    body = body_of(named(function), TABLES)
    assert isinstance(body, NoBody)
    return body.reason


def test_a_caller_has_a_user_id_and_claims() -> None:
    """Nothing else of the server's object is known to clients."""

    def function(q: Tables, args: Any, caller: Any) -> Query:
        return q.customer.where("_id", caller.email)

    assert reason(function) == "caller.email is not known to clients."


def test_a_function_that_names_what_is_not_there_is_unusable() -> None:
    """That is another thing than a body that is not known."""
    body = body_of(named(lambda q, args: q.custmer), TABLES)
    assert body == Unusable("There is no table 'custmer'. Did you mean 'customer'?")


def test_defaults_and_aliases_lead_from_attributes_to_json() -> None:
    """A client has what it would send, and not the model."""
    arguments = Arguments(Values)
    assert arguments.value({"newName": "n"}, ("renamed",)) == "n"
    assert arguments.value({}, ("renamed",)) == ""
    assert arguments.value({}, ("inner", "size")) == 3
    assert arguments.value({"inner": {"size": 4}}, ("inner", "size")) == 4
    with pytest.raises(UnclearArgument):
        arguments.value({}, ("model_fields_set",))


@pytest.mark.parametrize(("first", "second"), [("rooms", "rooms.all"), ("a.b.c", "a")])
def test_a_name_that_leads_through_another_is_refused(first: str, second: str) -> None:
    """Clients have one object of queries, where nothing is both a query and an object."""
    registry = Registry()
    query(first, app="shop", registry=registry)(lambda q: q.customer)
    with pytest.raises(InvalidDeclaration, match="cannot be both"):
        query(second, app="shop", registry=registry)(lambda q: q.customer)
    query("rooms2.all", app="shop", registry=registry)(lambda q: q.customer)
    query(second, app="other", registry=registry)(lambda q: q.customer)
