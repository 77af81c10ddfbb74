"""changesource/queries/registry.py"""

import asyncio
import json
from collections.abc import Callable
from typing import Annotated, Any, Literal

import pytest
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from changesource.queries.builder import Query, Tables
from changesource.queries.errors import ApplicationError, InvalidQuery
from changesource.queries.registry import MAX_ISSUES, MAX_NAME_LENGTH, Caller, InvalidDeclaration, Registry, query
from tests.rules.schema import SCOPE

TABLES = Tables(SCOPE)
VISITOR = Caller()


def not_secret(text: str) -> str:
    if "secret" in text:
        raise ValueError("this text cannot be used")
    return text


class Search(BaseModel):
    text: Annotated[str, AfterValidator(not_secret)] = "a"
    level: int = Field(default=1, ge=0)
    order: Literal["asc", "desc"] = "asc"
    numbers: list[float] = []


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    id: int


@pytest.fixture
def registry() -> Registry:
    return Registry()


def issues(q: Tables) -> Query:
    return q.issue


def search(q: Tables, args: Search) -> Query:
    return q.issue.where("text", args.text).where("number", "IN", args.numbers)


def strict(q: Tables, args: Strict) -> Query:
    return q.issue.where("id", args.id)


def mine(q: Tables, caller: Caller) -> Query:
    return q.issue.where("owner", caller.user_id or "")


def both(tables: Tables, caller: Caller, args: Search, limit: int = 5) -> Query:
    return tables.issue.where("owner", caller.claims["sub"]).where("text", args.text).limit(limit)


# Declarations


def test_a_function_is_called_by_its_module_and_its_name(registry: Registry) -> None:
    """Unless it is given another name, and stays a function."""
    assert query(app="shop", registry=registry)(issues) is issues
    query("issues.all", app="shop", registry=registry)(issues)
    assert list(registry.of_app("shop")) == ["tests.queries.test_registry.issues", "issues.all"]
    assert issues(TABLES).ast == {"table": "issue"}


def test_apps_have_queries_of_their_own(registry: Registry) -> None:
    """The same name may stand for two functions in two apps."""
    query("all", app="shop", registry=registry)(issues)
    query("all", app="blog", registry=registry)(mine)
    assert list(registry.apps()) == ["shop", "blog"]
    assert registry.of_app("shop")["all"].function is issues
    assert registry.of_app("blog")["all"].function is mine
    assert registry.of_app("other") == {}


@pytest.mark.parametrize("name", ["a", "messages.byRoom", "_a.$b.c1", "A.constructor", "a" * MAX_NAME_LENGTH])
def test_names_are_paths_of_properties(registry: Registry, name: str) -> None:
    """As `defineQueries` takes them."""
    query(name, app="shop", registry=registry)(issues)
    assert registry.of_app("shop")[name].name == name


@pytest.mark.parametrize(
    "name",
    [
        " ",
        "a b",
        "a.",
        ".a",
        "a..b",
        "1a",
        "a|b",
        "a-b",
        "é",
        "a\n",
        "__proto__",
        "a.__proto__",
        "a" * (MAX_NAME_LENGTH + 1),
    ],
)
def test_other_names_are_refused(registry: Registry, name: str) -> None:
    """They would not reach a function of the client's object."""
    with pytest.raises(InvalidDeclaration) as refused:
        query(name, app="shop", registry=registry)(issues)
    assert str(refused.value) == (
        f"tests.queries.test_registry.issues: {name!r} is not a name for a query. Write words with dots between them, "
        "such as messages.byRoom."
    )
    assert list(registry.apps()) == []


def test_a_name_is_given_once(registry: Registry) -> None:
    """The message names both functions."""
    query("all", app="shop", registry=registry)(issues)
    with pytest.raises(InvalidDeclaration) as refused:
        query("all", app="shop", registry=registry)(mine)
    assert str(refused.value) == (
        "tests.queries.test_registry.mine: the app 'shop' has a query 'all' already, in "
        "tests.queries.test_registry.issues. Give one of them another name."
    )
    assert registry.of_app("shop")["all"].function is issues


async def waits(q: Tables) -> Query:
    return await asyncio.sleep(0, q.issue)


def without_tables() -> Query:
    raise AssertionError


def only_keywords(*, q: Tables) -> Query:
    return q.issue


def only_the_rest(*q: Tables) -> Query:
    return q[0].issue


def something_else(q: Tables, arguments: Search) -> Query:
    return q.issue.where("text", arguments.text)


def no_annotation(q, args):
    return q.issue.where("text", args.text)


def no_model(q: Tables, args: dict[str, Any]) -> Query:
    return q.issue.where("text", args["text"])


def an_object(q: Tables, args: Search()) -> Query:
    return q.issue


def unknown_model(q: Tables, args: "Nowhere") -> Query:  # noqa: F821
    return q.issue


def the_rest_is_args(q: Tables, *args: Search) -> Query:
    return q.issue.where("text", args[0].text)


def the_rest_is_caller(q: Tables, **caller: Caller) -> Query:
    return q.issue.limit(len(caller))


def positional(q: Tables, args: Search, /) -> Query:
    return q.issue.where("text", args.text)


_BY_NAME = "args and caller are given by name. Write def {0}(q, args, caller), with those of them that it needs."


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (waits, "a query function builds a query and waits for nothing. Write def, not async def."),
        (without_tables, "the first parameter is for the tables: def without_tables(q, …)."),
        (only_keywords, "the first parameter is for the tables: def only_keywords(q, …)."),
        (only_the_rest, "the first parameter is for the tables: def only_the_rest(q, …)."),
        (something_else, "nothing is given for the parameter 'arguments'. Take args and caller."),
        (no_annotation, "annotate args with a subclass of pydantic.BaseModel."),
        (no_model, "annotate args with a subclass of pydantic.BaseModel."),
        (an_object, "annotate args with a subclass of pydantic.BaseModel."),
        (
            unknown_model,
            "its annotations name 'Nowhere', which the module does not have when it is imported. "
            "Import the model of args outside of `if TYPE_CHECKING`, and define it outside of functions.",
        ),
        (the_rest_is_args, _BY_NAME.format("the_rest_is_args")),
        (the_rest_is_caller, _BY_NAME.format("the_rest_is_caller")),
        (positional, _BY_NAME.format("positional")),
    ],
)
def test_a_function_that_could_not_be_called_is_refused(
    registry: Registry, function: Callable[..., Any], message: str
) -> None:
    """When its module is imported, with its name and what to change."""
    with pytest.raises(InvalidDeclaration) as refused:
        query("a", app="shop", registry=registry)(function)
    assert str(refused.value) == f"tests.queries.test_registry.{function.__name__}: {message}"
    assert list(registry.apps()) == []


def test_a_lambda_has_no_name(registry: Registry) -> None:
    """It is given one."""
    with pytest.raises(InvalidDeclaration, match="is not a name for a query"):
        query(app="shop", registry=registry)(lambda q: q.issue)
    query("all", app="shop", registry=registry)(lambda q: q.issue)
    assert registry.of_app("shop")["all"].build(TABLES, None, VISITOR).ast == {"table": "issue"}


# Calls


def build(registry: Registry, function: Callable[..., Any], argument: Any = None, caller: Caller = VISITOR) -> Any:
    query("it", app="shop", registry=registry)(function)
    return registry.of_app("shop")["it"].build(TABLES, argument, caller).ast


def test_a_function_gets_what_it_takes(registry: Registry) -> None:
    """The tables first, and args and caller by their names."""
    user = Caller("u1", {"sub": "u2"})
    ast = build(registry, both, {"text": "b"}, user)
    assert ast["limit"] == 5
    assert [part["right"]["value"] for part in ast["where"]["conditions"]] == ["u2", "b"]
    assert build(Registry(), mine, {"text": "b"}, user)["where"]["right"]["value"] == "u1"
    assert build(Registry(), issues, {"text": "b"}, user) == {"table": "issue"}


def test_no_argument_is_an_argument_without_members(registry: Registry) -> None:
    """So a model whose fields all have defaults takes it."""
    assert build(registry, search)["where"]["conditions"][0]["right"]["value"] == "a"
    with pytest.raises(ApplicationError, match="Field required"):
        build(Registry(), strict)


def refusal(function: Callable[..., Any], argument: Any) -> ApplicationError:
    with pytest.raises(ApplicationError) as refused:
        build(Registry(), function, argument)
    return refused.value


def test_arguments_that_do_not_fit_are_refused_as_zero_does() -> None:
    """With its message and the form of its details (zql/src/query/validate-input.ts)."""
    refused = refusal(search, {"text": "b", "level": -1, "numbers": [1, "x"]})
    messages = [
        "Input should be greater than or equal to 0",
        "Input should be a valid number, unable to parse string as a number",
    ]
    assert refused.message == f"Validation failed for query it: {messages[0]}, {messages[1]}"
    assert refused.details == {
        "type": "InputValidationError",
        "result": {
            "issues": [
                {"message": messages[0], "path": ["level"]},
                {"message": messages[1], "path": ["numbers", 1]},
            ]
        },
    }


@pytest.mark.parametrize(
    ("function", "argument"),
    [
        (search, "secret"),
        (search, ["secret"]),
        (search, {"text": {"$ne": "secret"}}),
        (search, {"text": "secret"}),
        (search, {"level": "secret"}),
        (search, {"order": "secret"}),
        (search, {"numbers": ["secret"]}),
        (search, {"numbers": {"secret": 1}}),
        (strict, {"id": "secret"}),
        (strict, {"id": "1"}),
        (strict, {"id": True}),
        (strict, {}),
        (strict, 5),
        (strict, {"id": 1.5}),
    ],
)
def test_a_refusal_does_not_repeat_the_argument(function: Callable[..., Any], argument: Any) -> None:
    """Only the place in it is named."""
    refused = refusal(function, argument)
    assert refused.details["type"] == "InputValidationError"
    assert refused.details["result"]["issues"]
    assert "secret" not in json.dumps([refused.message, refused.details])


def test_a_refusal_is_short() -> None:
    """However many things are wrong."""
    refused = refusal(search, {"numbers": ["x"] * 10_000})
    assert len(refused.details["result"]["issues"]) == MAX_ISSUES
    assert refused.message.endswith(f"as a number, and {10_000 - MAX_ISSUES} more")
    assert len(json.dumps([refused.message, refused.details])) < 10_000


@pytest.mark.parametrize("returned", [None, {"table": "issue"}, TABLES, [TABLES.issue], Query])
def test_a_function_returns_a_query(registry: Registry, returned: Any) -> None:
    """Nothing else is sent."""
    with pytest.raises(InvalidQuery) as refused:
        build(registry, lambda q: returned)
    assert refused.value.message == "The function of the query 'it' returned no query."


def test_what_a_function_raises_is_raised(registry: Registry) -> None:
    """`transform` decides what the client gets of it."""
    with pytest.raises(ZeroDivisionError):
        build(registry, lambda q: q.issue.limit(1 // 0))
