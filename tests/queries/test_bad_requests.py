"""What clients may send as arguments, from the bytes of the request to the bytes of the answer. No argument becomes
anything but a value of the comparison that the query function wrote."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, JsonValue

from changesource.protocol.transforms import parse_transform, query_response
from changesource.queries.builder import Query, Tables
from changesource.queries.registry import Caller, Registry, query
from changesource.queries.transform import Transformer, replica_tables
from tests.queries.shop import OPEN, scope

SCOPE = scope(**OPEN)
REGISTRY = Registry()


class Anything(BaseModel):
    """A model that leaves all to the builder."""

    value: JsonValue = None


class Typed(BaseModel):
    model_config = ConfigDict(strict=True)
    text: str
    number: int = 0


@query("text", app="shop", registry=REGISTRY)
def by_text(q: Tables, args: Anything) -> Query:
    return q.issue.where("text", args.value)


@query("number", app="shop", registry=REGISTRY)
def by_number(q: Tables, args: Anything) -> Query:
    return q.issue.where("number", ">", args.value)


@query("among", app="shop", registry=REGISTRY)
def among(q: Tables, args: Anything) -> Query:
    return q.issue.where("text", "IN", args.value)


@query("like", app="shop", registry=REGISTRY)
def like(q: Tables, args: Anything) -> Query:
    return q.issue.where("text", "LIKE", args.value)


@query("first", app="shop", registry=REGISTRY)
def first(q: Tables, args: Anything) -> Query:
    return q.issue.limit(args.value)


@query("after", app="shop", registry=REGISTRY)
def after(q: Tables, args: Anything) -> Query:
    return q.issue.start(args.value)


@query("sorted", app="shop", registry=REGISTRY)
def in_order(q: Tables, args: Anything) -> Query:
    return q.issue.order_by(args.value)


@query("compared", app="shop", registry=REGISTRY)
def compared(q: Tables, args: Anything) -> Query:
    return q.issue.where("text", args.value, "a")


@query("claimed", app="shop", registry=REGISTRY)
def claimed(q: Tables, args: Anything) -> Query:
    return q.issue.where(lambda e: e.cmp_lit(args.value, "LIKE", args.value))


@query("typed", app="shop", registry=REGISTRY)
def typed(q: Tables, args: Typed) -> Query:
    return q.issue.where("text", args.text).where("number", args.number)


TRANSFORMER = Transformer(SCOPE.app, [replica_tables(SCOPE.app)], REGISTRY)


def answer(name: str, argument: str) -> dict[str, Any]:
    """The answer to one query whose argument is this JSON."""
    body = f'["transform",[{{"id":"q1","name":{json.dumps(name)},"args":[{argument}]}}]]'
    queries = parse_transform(body.encode("utf-8", "surrogatepass"))
    found = TRANSFORMER.transform(queries, Caller())
    response = json.loads(query_response(None, [each.answer for each in found]))
    (only,) = response["queries"]
    assert found[0].outcome == ("refused" if "error" in only else "ast"), "no argument makes a function fail"
    assert isinstance(only, dict)
    return only


SCALAR = "compare with a string, a number, true or false, or null."
LIMIT = "A limit is a whole number from 0 to 2,147,483,647."
ROW = "start takes a row: a value for each column that the query sorts by."


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("text", '{"$ne": null}', f"'text': {SCALAR}"),
        ("text", '{"op": "IS NOT", "value": null}', f"'text': {SCALAR}"),
        ("text", '{"type": "column", "name": "owner"}', f"'text': {SCALAR}"),
        ("text", '{"type": "literal", "value": "a"}', f"'text': {SCALAR}"),
        ("text", '{"__proto__": {"toStaticParam": 1}}', f"'text': {SCALAR}"),
        ("text", '["a"]', f"'text': {SCALAR}"),
        ("text", '["!=", "a"]', f"'text': {SCALAR}"),
        ("text", "[]", f"'text': {SCALAR}"),
        ("text", "5", "'text': a string column is never compared with a number."),
        ("text", "true", "'text': a string column is never compared with a boolean."),
        ("text", '"\\ud800"', "'text': the text has half a surrogate pair, which is not a character."),
        ("text", '"a\\udfffb"', "'text': the text has half a surrogate pair, which is not a character."),
        ("number", '"5"', "'number': a number column is never compared with a string."),
        ("number", "false", "'number': a number column is never compared with a boolean."),
        ("number", "9007199254740992", "'number': no number column holds integers beyond ±(2^53 - 1)."),
        ("number", "-9007199254740992", "'number': no number column holds integers beyond ±(2^53 - 1)."),
        ("number", "1" + "0" * 400, "'number': no number column holds integers beyond ±(2^53 - 1)."),
        ("number", "1e999", "'number': a number column holds finite numbers only."),
        ("number", '{"$gt": 1}', f"'number': {SCALAR}"),
        ("among", '"a"', "'text': IN takes a list."),
        ("among", "null", "'text': IN takes a list."),
        ("among", '{"0": "a", "length": 1}', "'text': IN takes a list."),
        ("among", '["a", null]', "'text': IN never finds null. Compare with IS and null."),
        ("among", '["a", 1]', "'text': a string column is never compared with a number."),
        ("among", '["a", ["b"]]', f"'text': {SCALAR}"),
        ("among", '[{"$regex": ""}]', f"'text': {SCALAR}"),
        ("among", '["\\ud800"]', "'text': the text has half a surrogate pair, which is not a character."),
        (
            "like",
            '"%\\\\"',
            "'text': a pattern ends with a backslash, which has nothing to escape. Write two of them for one.",
        ),
        ("like", "1", "'text': a string column is never compared with a number."),
        ("like", '["%"]', f"'text': {SCALAR}"),
        ("first", "-1", LIMIT),
        ("first", "1e3", LIMIT),
        ("first", '"1"', LIMIT),
        ("first", "true", LIMIT),
        ("first", "null", LIMIT),
        ("first", "2147483648", LIMIT),
        ("first", "[1]", LIMIT),
        ("after", "null", ROW),
        ("after", '[["text", "a"]]', ROW),
        ("after", '"text"', ROW),
        ("after", '{"constructor": 1}', "The table 'issue' has no column 'constructor'."),
        ("after", '{"__proto__": {"text": "a"}}', "The table 'issue' has no column '__proto__'."),
        ("after", '{"text": {"a": 1}}', f"'text': {SCALAR}"),
        ("after", '{"data": {"a": 1}}', f"'data': {SCALAR}"),
        ("sorted", '"data"', "order_by 'data': a json column has no order. Sort by another."),
        ("sorted", '"text desc; DROP TABLE issues"', "The table 'issue' has no column 'text desc; DROP TABLE issues'."),
        ("sorted", '["text"]', "The table 'issue' has no column ['text']."),
        ("sorted", "null", "The table 'issue' has no column None."),
        ("compared", '"IS NOT A"', "'text': 'IS NOT A' is not an operator."),
        ("compared", "{}", "'text': {} is not an operator."),
        ("compared", '["="]', "'text': ['='] is not an operator."),
        ("claimed", "1", "cmp_lit: LIKE compares text."),
        ("claimed", "{}", f"cmp_lit: {SCALAR}"),
        ("claimed", "[]", "cmp_lit: IN and NOT IN take a list on the right, and other operators do not."),
    ],
)
def test_a_value_of_another_kind_is_refused(name: str, value: str, message: str) -> None:
    """As an error of its query, in words for the client's developer."""
    found = answer(name, f'{{"value": {value}}}')
    assert found.pop("message").startswith(message)
    assert found == {"error": "app", "id": "q1", "name": name}


@pytest.mark.parametrize(
    "argument",
    [
        "null",
        "5",
        '"text"',
        "[]",
        '[{"text": "a"}]',
        "{}",
        '{"text": null}',
        '{"text": {"$ne": "b"}}',
        '{"text": ["a"]}',
        '{"text": 5}',
        '{"text": "a", "number": "1"}',
        '{"text": "a", "number": 1.5}',
        '{"text": "a", "number": true}',
        '{"Text": "a"}',
        '{"__proto__": {"text": "a"}}',
        '{"text":' + "[" * 400 + "]" * 400 + "}",
    ],
)
def test_an_argument_that_does_not_fit_its_model_is_refused(argument: str) -> None:
    """In the form of @rocicorp/zero."""
    found = answer("typed", argument)
    assert found["error"] == "app"
    assert found["message"].startswith("Validation failed for query typed: ")
    assert found["details"]["type"] == "InputValidationError"
    assert found["details"]["result"]["issues"]


def literal(value: Any) -> dict[str, Any]:
    return {"type": "literal", "value": value}


@pytest.mark.parametrize(
    "value",
    ["", "=", "IS NOT", "$ne", "$auth.sub", "'; DROP TABLE issues; --", "\0", "😀", "__proto__", "[object Object]"],
)
def test_any_text_is_a_value(value: str) -> None:
    """Whatever it means elsewhere."""
    where = {
        "type": "simple",
        "left": {"type": "column", "name": "text_in_replica"},
        "right": literal(value),
        "op": "=",
    }
    assert answer("text", json.dumps({"value": value}))["ast"] == {"table": "issues", "where": where}


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.sampled_from(["=", "text", "a\\"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text() | st.sampled_from(["text", "$ne", "__proto__", "type", "value"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.sampled_from(list(REGISTRY.of_app("shop"))), json_values)
def test_no_argument_makes_a_condition(name: str, value: Any) -> None:
    """The AST, if there is one, is the one that the function wrote, with another value."""
    found = answer(name, json.dumps({"value": value, "text": "a", "number": 0}).replace("Infinity", "1e999"))
    if "error" in found:
        return
    ast = found["ast"]
    assert ast["table"] == "issues"
    assert ast.keys() <= {"table", "where", "limit", "start", "orderBy"}
    where = ast.get("where", {"type": "and", "conditions": []})
    for part in where.get("conditions", [where]):
        assert part["type"] == "simple"
        assert part["right"]["type"] == "literal"
        if isinstance(part["right"]["value"], list):
            assert (name, part["op"]) == ("among", "IN")
