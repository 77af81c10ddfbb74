"""Strategies for rules and claims."""

from functools import cache
from typing import Any

from hypothesis import strategies as st

from changesource.tables.definition import Column
from tests.rules.schema import FLAGS, NUMBERS, RELATIONSHIPS, SCOPE, TEXTS

Rules = st.SearchStrategy[Any]

_VALUES: dict[str, Rules] = {
    "string": st.sampled_from([*TEXTS, "u1", "c"]),
    "number": st.sampled_from([*NUMBERS, 2]),
    "boolean": st.sampled_from(FLAGS),
    "json": st.none(),
}
_CLAIMS: dict[str, Rules] = {
    "string": st.sampled_from(["$auth.sub", "$auth.org.name"]),
    "number": st.just("$auth.level"),
    "boolean": st.just("$auth.staff"),
}
_LISTS = {"string": "$auth.names", "number": "$auth.levels"}
_PATTERNS = st.sampled_from(["a", "^a", "^", "", "%", "b%_", "\\^", "^A", "é", "😀", "a\nb", "^a\\\n"])

claims: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "sub": st.sampled_from(["u1", "a", "", None]),
        "org": st.one_of(st.none(), st.fixed_dictionaries({}, optional={"name": st.sampled_from(["u2", "ab"])})),
        "level": st.sampled_from([0, 1, 1.5, None]),
        "staff": st.sampled_from([True, False, None]),
        "names": st.one_of(st.none(), st.lists(st.sampled_from(["u1", "u2", "a", ""]), max_size=3)),
        "levels": st.lists(st.sampled_from([0, 1, 5]), max_size=2),
    },
)


@cache
def rules(table: str = "issue", depth: int = 3, *, related: bool = True) -> Rules:
    """Rules for a table, with at most `depth` levels of anything."""
    fields = [column for column in SCOPE.tables[table].columns if column.name != "id"]
    conditions = st.one_of([_field(column) for column in fields])
    entries = [conditions, conditions, _claim_conditions]
    if depth:
        inner = rules(table, depth - 1, related=related)
        members = st.lists(inner, min_size=1, max_size=3)
        entries.append(st.sampled_from(["$and", "$or", "$nor"]).flatmap(lambda name: st.tuples(st.just(name), members)))
        if related and table in RELATIONSHIPS:
            entries.append(
                st.sampled_from(sorted(RELATIONSHIPS[table])).flatmap(lambda name: _related(table, name, depth))
            )
    return st.lists(st.one_of(entries), max_size=2).map(dict)


def _related(table: str, name: str, depth: int) -> Rules:
    destination = RELATIONSHIPS[table][name][-1]["destSchema"]
    where = rules(destination, depth - 1)
    argument = st.fixed_dictionaries({"relationship": st.just(name)}, optional={"where": where})
    return st.tuples(st.just("$exists"), argument)


def _field(column: Column) -> Rules:
    operators = _operators(column.type)
    plain = st.one_of(_operand(column.type), operators, st.fixed_dictionaries({"$not": operators}))
    return st.tuples(st.just(column.name), plain)


def _operand(column_type: str) -> Rules:
    value = _VALUES[column_type]
    return st.one_of(value, _CLAIMS[column_type]) if column_type in _CLAIMS else value


def _operators(column_type: str) -> Rules:
    operand = _operand(column_type)
    operands: Rules = st.lists(operand, max_size=3)
    if column_type in _LISTS:
        operands = st.one_of(operands, st.just(_LISTS[column_type]))
    optional = {
        **dict.fromkeys(("$eq", "$ne"), operand),
        **dict.fromkeys(("$gt", "$gte", "$lt", "$lte"), operand),
        **dict.fromkeys(("$in", "$nin"), operands),
        **({"$regex": _PATTERNS} if column_type == "string" else {}),
    }
    return st.sampled_from(sorted(optional)).flatmap(lambda name: st.fixed_dictionaries({name: optional[name]}))


def _claim(name: str, values: Rules, *, order: bool = True) -> Rules:
    operators = ("$eq", "$ne", "$gt", "$gte", "$lt", "$lte") if order else ("$eq", "$ne")
    comparison = st.sampled_from(operators).flatmap(lambda operator: st.fixed_dictionaries({operator: values}))
    membership = st.sampled_from(["$in", "$nin"]).flatmap(
        lambda operator: st.fixed_dictionaries({operator: st.lists(values, max_size=2)})
    )
    presence = st.booleans().map(lambda there: {"$exists": there})
    condition = st.one_of(comparison, membership, presence)
    return st.tuples(st.just(f"$auth.{name}"), st.one_of(values, condition, st.fixed_dictionaries({"$not": condition})))


_names = st.sampled_from(["u1", "a"])
_held = st.one_of(
    st.fixed_dictionaries({"$eq": _names}), st.fixed_dictionaries({"$in": st.lists(_names, max_size=2)})
).map(lambda held: {"$elemMatch": held})
_claim_conditions = st.one_of(
    _claim("sub", st.sampled_from(["u1", "", None])),
    _claim("org.name", _names),
    _claim("level", st.sampled_from([0, 1, None])),
    _claim("staff", st.booleans(), order=False),
    st.tuples(st.just("$auth.names"), st.one_of(_held, _held.map(lambda held: {"$not": held}))),
)
