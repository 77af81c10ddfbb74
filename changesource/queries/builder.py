"""ZQL in Python: queries over the published tables of an app, as Zero's AST.

A query is built as in TypeScript, so that Zero's documentation applies. Only the spelling differs: `order_by` is `orderBy`,
`where_exists` is `whereExists`, and `and_`, `or_` and `not_` have an underscore, because Python reserves the words.

    q.message.where("roomId", args.roomId).related("sender").order_by("createdAt", "desc").limit(100)
    q.message.where(lambda e: e.or_(e.cmp("pinned", True), e.exists("mentions", lambda m: m.where("userId", user))))

The AST has the names of the schema; `restriction` makes server names of them. Comparisons follow SQL, as in Zero: nothing is
equal to null, and `!=` is not true of null. Only IS and IS NOT compare with null.

What TypeScript's compiler finds is found here when the query is built, and raises `InvalidQuery`: names that the app does
not have, operators, and values that the column never holds. A value is a string, number, boolean or null, or a list of
these after IN and NOT IN. So no argument of a caller can become an operator.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, Final

from changesource.queries.errors import InvalidQuery
from changesource.rules.checks import RuleScope
from changesource.tables.definition import Column, Table
from changesource.tables.relationships import Connection, Relationship
from changesource.tables.values import MAX_SAFE_INTEGER

Ast = dict[str, Any]
"""Zero: zero-protocol/ast.ts, `astSchema`."""
Condition = dict[str, Any]
"""Zero: zero-protocol/ast.ts, `conditionSchema`."""

OPERATORS: Final = frozenset(
    ["=", "!=", "IS", "IS NOT", "<", ">", "<=", ">=", "LIKE", "NOT LIKE", "ILIKE", "NOT ILIKE", "IN", "NOT IN"]
)
_OPPOSITES: Final = {
    "=": "!=",
    "<": ">=",
    ">": "<=",
    "IN": "NOT IN",
    "LIKE": "NOT LIKE",
    "ILIKE": "NOT ILIKE",
    "IS": "IS NOT",
    "EXISTS": "NOT EXISTS",
}
_NEGATED: Final = {**_OPPOSITES, **{opposite: operator for operator, opposite in _OPPOSITES.items()}}

_TRUE: Final[Condition] = {"type": "and", "conditions": []}
_FALSE: Final[Condition] = {"type": "or", "conditions": []}
_SUBQUERY_PREFIX: Final = "zsubq_"
"""Zero's prefix for the aliases of subqueries in conditions (`SUBQ_PREFIX`)."""
_GIVEN: Final[Any] = object()


ParameterPath = tuple[str, tuple[str, ...]]
"""An anchor, which is `args` or `caller`, and the names that lead from there to a value."""


class ParametersSeen:
    """What one trace assumes and learns: `nulls` are the parameters that are None in it, and `looked_at` has every parameter
    that the function came by, in the order in which it did."""

    def __init__(self, nulls: Collection[ParameterPath] = ()) -> None:
        self.nulls = nulls
        self.looked_at: dict[ParameterPath, None] = {}


class Parameter:
    """Stands for a value that is not known yet, in a query that is only traced (`tracing`): an argument, or what is known of
    the caller. It can be compared with a column, and with nothing else: a function that has to know the value cannot be
    traced."""

    # An argument may have any name that does not begin with an underscore, so nothing else here does.

    def __init__(self, anchor: str, path: tuple[str, ...] = (), seen: ParametersSeen | None = None) -> None:
        self._anchor = anchor
        self._path = path
        self._seen = ParametersSeen() if seen is None else seen

    @property
    def _value_position(self) -> Ast:
        """What stands in an AST in its place. Zero's own `static` parameters look alike, and zero-cache takes neither."""
        return {"type": "parameter", "anchor": self._anchor, "path": list(self._path)}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # Python itself asks for these
            raise AttributeError(name)
        return self._inner((*self._path, name))

    def _inner(self, path: tuple[str, ...]) -> Parameter | None:
        self._seen.looked_at[self._anchor, path] = None
        return None if (self._anchor, path) in self._seen.nulls else Parameter(self._anchor, path, self._seen)

    def __getitem__(self, name: str) -> Any:
        if not isinstance(name, str):
            raise self._unknown()
        return self._inner((*self._path, name))

    def __call__(self, *arguments: object) -> Any:
        """`get` is what a claim is looked up with. Other methods need the value."""
        match self._path, arguments:
            case (*before, "get"), (str() as name, *_):
                self._seen.looked_at.pop((self._anchor, self._path), None)
                return self._inner((*before, name))
        raise self._unknown()

    def _unknown(self) -> UnknownValue:
        return UnknownValue(f"It depends on the value of {'.'.join((self._anchor, *self._path))}.")

    def _refuse(self, *_: object) -> Any:
        raise self._unknown()

    __bool__ = __iter__ = __len__ = __contains__ = __str__ = __format__ = __int__ = __float__ = __index__ = _refuse
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __mod__ = __neg__ = _refuse
    __hash__ = object.__hash__


class UnknownValue(Exception):
    """A query function has to know a value that a trace does not have."""


class Tables:
    """The tables of an app. `tables.message`, or `tables["message"]` for a name that Python cannot spell, begins a query."""

    def __init__(self, scope: RuleScope) -> None:
        self._queries = {name: Query(scope, table, {"table": name}) for name, table in scope.tables.items()}

    def __getattr__(self, name: str) -> Query:
        if name.startswith("__"):  # Python itself asks for these
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, name: str) -> Query:
        query = self._queries.get(name)
        if query is None:
            raise InvalidQuery(f"There is no table {name!r}.{_did_you_mean(name, self._queries)}")
        return query


class Query:
    """A query over one table. It never changes: each method returns another query. `ast` is what zero-cache would run, with
    the names of the schema. `ones` has the paths of relationships that lead to where `one` was called, which the AST does not
    tell: `()` is the query itself."""

    __slots__ = ("_junction", "_scope", "_table", "ast", "ones")

    def __init__(
        self,
        scope: RuleScope,
        table: Table,
        ast: Ast,
        junction: str = "",
        ones: frozenset[tuple[str, ...]] = frozenset(),
    ) -> None:
        self._scope = scope
        self._table = table
        self._junction = junction
        self.ast = ast
        self.ones = ones

    def where(self, column_or_condition: Any, operator_or_value: Any = _GIVEN, value: Any = _GIVEN) -> Query:
        """Keeps the rows for which `column = value` or `column operator value` holds, or the condition that a function makes
        with an `Expressions`. Conditions of several calls have to hold together."""
        expressions = Expressions(self._scope, self._table)
        if callable(column_or_condition):
            condition = column_or_condition(expressions)
        elif operator_or_value is _GIVEN:
            raise InvalidQuery("where takes a column and a value, a column, an operator and a value, or a function.")
        else:
            condition = expressions.cmp(column_or_condition, operator_or_value, value)
        # None is refused, too: a function that forgets its `return` must not show all rows.
        condition = _checked_condition(condition)
        existing = self.ast.get("where")
        return self._with(where=_simplified(condition if existing is None else _and(existing, condition)))

    def where_exists(
        self, relationship: str, query: Callable[[Query], Query] | None = None, *, flip: bool | None = None
    ) -> Query:
        """Keeps the rows that have a related row, one that `query` finds if it is given."""
        return self.where(lambda e: e.exists(relationship, query, flip=flip))

    def related(self, relationship: str, query: Callable[[Query], Query] | None = None) -> Query:
        """Also syncs the rows that the relationship leads to, those that `query` finds if it is given."""
        if relationship.startswith(_SUBQUERY_PREFIX):
            raise InvalidQuery(
                f"The name of a relationship must not begin with {_SUBQUERY_PREFIX!r}, which Zero reserves."
            )
        found = _relationship(self._scope, self._table, relationship)
        if query is None:
            return self._with(related=[*self.ast.get("related", ()), _plain_step(found)])
        is_junction = len(found.connections) > 1
        subquery = _subquery(
            self._scope, found.destination, relationship, query, junction=relationship if is_junction else ""
        )
        made = self._with(related=[*self.ast.get("related", ()), _step(found, subquery.ast)])
        made.ones = self.ones | {(relationship, *path) for path in subquery.ones}
        return made

    def order_by(self, column: str, direction: str = "asc") -> Query:
        """Sorts by `column`, after what earlier calls sort by. `direction` is asc or desc."""
        self._refuse_in_junction("order_by")
        if direction not in ("asc", "desc"):
            raise InvalidQuery(f"order_by {column!r}: the direction is asc or desc.")
        if _column(self._table, column).type == "json":
            raise InvalidQuery(f"order_by {column!r}: a json column has no order. Sort by another.")
        return self._with(orderBy=[*self.ast.get("orderBy", ()), [column, direction]])

    def limit(self, count: int) -> Query:
        """Keeps the first `count` rows."""
        if isinstance(count, Parameter):
            self._refuse_in_junction("limit")
            return self._with(limit=count._value_position)
        if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count < 2**31:
            raise InvalidQuery("A limit is a whole number from 0 to 2,147,483,647.")
        self._refuse_in_junction("limit")
        return self._with(limit=count)

    def start(self, row: Mapping[str, Any], *, inclusive: bool = False) -> Query:
        """Keeps the rows that sort after `row`, which has values for columns that the query sorts by, or from it on."""
        if isinstance(row, Parameter):
            raise row._unknown()
        if not isinstance(row, Mapping):
            raise InvalidQuery("start takes a row: a value for each column that the query sorts by.")
        for name, value in row.items():
            _refuse_misfit(_column(self._table, name), "IS", value)
        values = {name: value._value_position if isinstance(value, Parameter) else value for name, value in row.items()}
        return self._with(start={"row": values, "exclusive": not inclusive})

    def one(self) -> Query:
        """Keeps the first row, which the client gets by itself and not in a list."""
        found = self._with(limit=1)
        found.ones = self.ones | {()}
        return found

    def _with(self, **members: Any) -> Query:
        return Query(self._scope, self._table, {**self.ast, **members}, self._junction, self.ones)

    def _refuse_in_junction(self, method: str) -> None:
        if self._junction:
            raise InvalidQuery(
                f"{method}: Zero does not support it behind the junction of the relationship {self._junction!r}."
            )


class Expressions:
    """Makes the conditions of one table. Conditions that are None are left out, which suits optional arguments."""

    __slots__ = ("_scope", "_table")

    def __init__(self, scope: RuleScope, table: Table) -> None:
        self._scope = scope
        self._table = table

    def cmp(self, column: str, operator_or_value: Any, value: Any = _GIVEN) -> Condition:
        """`column = value`, or `column operator value`."""
        operator, value = ("=", operator_or_value) if value is _GIVEN else (operator_or_value, value)
        _refuse_other_operator(operator, column)
        found = _column(self._table, column)
        value = list(value) if isinstance(value, tuple) else value
        _refuse_misfit(found, operator, value)
        return {
            "type": "simple",
            "left": {"type": "column", "name": found.name},
            "right": _literal(value),
            "op": operator,
        }

    def cmp_lit(self, left: Any, operator: str, right: Any) -> Condition:
        """Compares two values, neither of which is a column: for claims and arguments."""
        _refuse_other_operator(operator)
        right = list(right) if isinstance(right, tuple) else right
        if (operator in ("IN", "NOT IN")) != isinstance(right, list) and not isinstance(right, Parameter):
            raise InvalidQuery("cmp_lit: IN and NOT IN take a list on the right, and other operators do not.")
        _refuse_scalar(left, "cmp_lit")
        if isinstance(right, list):
            _refuse_null_member(right, operator, "cmp_lit")
            for member in right:
                _refuse_scalar(member, "cmp_lit")
        else:
            _refuse_scalar(right, "cmp_lit")
            _refuse_other_pair(left, operator, right)
        return {"type": "simple", "left": _literal(left), "right": _literal(right), "op": operator}

    def and_(self, *conditions: Condition | None) -> Condition:
        """All of them hold. Without any, it always holds."""
        return _and(*conditions)

    def or_(self, *conditions: Condition | None) -> Condition:
        """One of them holds. Without any, it never holds."""
        return _or(*conditions)

    def not_(self, condition: Condition) -> Condition:
        """The opposite, as in SQL: neither a comparison with null nor its opposite holds."""
        return _not(_checked_condition(condition))

    def exists(
        self, relationship: str, query: Callable[[Query], Query] | None = None, *, flip: bool | None = None
    ) -> Condition:
        """There is a related row, one that `query` finds if it is given. The client gets this row too.

        With `flip`, zero-cache begins at the related rows (Zero's documentation, "Join flipping"). Inside an OR that is
        switched off; see `rules.zero_condition`.
        """
        *junctions, last = _relationship(self._scope, self._table, relationship).connections
        alias = f"zhidden_{relationship}" if junctions else relationship
        subquery = _subquery(
            self._scope,
            last.destination,
            f"{_SUBQUERY_PREFIX}{alias}",
            query,
            junction=relationship if junctions else "",
        ).ast
        for name in ("related", "start"):
            if name in subquery:
                raise InvalidQuery(f"exists {relationship!r}: the query of an exists has no {name}.")
        condition = _exists(last, subquery, flip)
        for junction in junctions:
            through = {
                "table": junction.destination,
                "alias": f"{_SUBQUERY_PREFIX}{relationship}",
                "where": condition,
            }
            condition = _exists(junction, through, flip)
        return condition


def _exists(connection: Connection, subquery: Ast, flip: bool | None) -> Condition:
    return {
        "type": "correlatedSubquery",
        "related": {"system": "client", "correlation": _correlation(connection), "subquery": subquery},
        "op": "EXISTS",
        **({} if flip is None else {"flip": flip}),
    }


def _subquery(
    scope: RuleScope, table: str, alias: str, query: Callable[[Query], Query] | None, *, junction: str
) -> Query:
    start = Query(scope, scope.tables[table], {"table": table, "alias": alias}, junction)
    found = start if query is None else query(start)
    if not isinstance(found, Query) or found.ast["table"] != table or found.ast.get("alias") != alias:
        name = junction or alias.removeprefix(_SUBQUERY_PREFIX)
        raise InvalidQuery(f"The function for {name!r} returns the query that it was given.")
    return found


def _relationship(scope: RuleScope, table: Table, relationship: str) -> Relationship:
    found = scope.relationship(table, relationship)
    if found is None:
        hint = _did_you_mean(relationship, scope.relationships.get(table.name, {}))
        raise InvalidQuery(f"The table {table.name!r} has no relationship {relationship!r}.{hint}")
    return found


def _step(relationship: Relationship, subquery: Ast) -> Ast:
    """What leads from a row to those behind `relationship` that `subquery` finds."""
    *junctions, last = relationship.connections
    step: Ast = {"system": "client", "correlation": _correlation(last), "subquery": subquery}
    for junction in junctions:
        through = {"table": junction.destination, "alias": relationship.name, "related": [step]}
        step = {"system": "client", "correlation": _correlation(junction), "hidden": True, "subquery": through}
    return step


@lru_cache(maxsize=1_000)
def _plain_step(relationship: Relationship) -> Ast:
    """The step to all rows behind `relationship`. It is the same object each time, so that `restriction` has to put the rules
    into it only once for a request."""
    return _step(relationship, {"table": relationship.destination, "alias": relationship.name})


def _correlation(connection: Connection) -> Ast:
    return {"parentField": list(connection.source_columns), "childField": list(connection.destination_columns)}


def _column(table: Table, name: str) -> Column:
    for column in table.columns:
        if column.name == name:
            return column
    hint = _did_you_mean(name, [column.name for column in table.columns])
    raise InvalidQuery(f"The table {table.name!r} has no column {name!r}.{hint}")


def _did_you_mean(name: object, names: Any) -> str:
    close = get_close_matches(str(name), list(names), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


# Values


def _literal(value: Any) -> Ast:
    if isinstance(value, list):
        value = [member._value_position if isinstance(member, Parameter) else member for member in value]
    return value._value_position if isinstance(value, Parameter) else {"type": "literal", "value": value}


def _refuse_other_operator(operator: Any, column: str | None = None) -> None:
    if isinstance(operator, Parameter):
        raise operator._unknown()
    if not isinstance(operator, str) or operator not in OPERATORS:
        place = "" if column is None else f"{column!r}: "
        raise InvalidQuery(f"{place}{operator!r} is not an operator. There are {', '.join(sorted(OPERATORS))}.")


def _refuse_misfit(column: Column, operator: str, value: Any) -> None:
    if isinstance(value, Parameter):
        if column.type == "json":
            raise InvalidQuery(f"{column.name!r}: a json column can only be compared with null.")
        return
    if operator in ("IN", "NOT IN"):
        if not isinstance(value, list):
            raise InvalidQuery(f"{column.name!r}: {operator} takes a list.")
        _refuse_null_member(value, operator, repr(column.name))
        for member in value:
            _refuse_scalar(member, repr(column.name))
            _refuse_other_kind(column, member)
        return
    _refuse_scalar(value, repr(column.name))
    if value is not None:
        is_pattern = "LIKE" in operator
        if is_pattern and column.type != "string":
            raise InvalidQuery(f"{column.name!r}: {operator} compares text, and this is a {column.type} column.")
        _refuse_other_kind(column, value)
        if is_pattern:
            _refuse_open_escape(value, repr(column.name))


def _refuse_other_pair(left: Any, operator: str, right: Any) -> None:
    """Refuses two values for which zero-cache has no answer but an exception, which stops the client group."""
    if left is None or right is None or isinstance(left, Parameter) or isinstance(right, Parameter):
        return
    kinds = kind_of(left), kind_of(right)
    if "LIKE" in operator:
        if kinds != ("string", "string"):
            raise InvalidQuery(f"cmp_lit: {operator} compares text.")
        _refuse_open_escape(right, "cmp_lit")
    elif operator in ("<", ">", "<=", ">=") and kinds[0] != kinds[1]:
        raise InvalidQuery(f"cmp_lit: a {kinds[0]} and a {kinds[1]} have no order.")


def _refuse_open_escape(pattern: str, place: str) -> None:
    """Refuses a pattern at which zero-cache throws (zql/builder/like.ts)."""
    if (len(pattern) - len(pattern.rstrip("\\"))) % 2:
        raise InvalidQuery(
            f"{place}: a pattern ends with a backslash, which has nothing to escape. Write two of them for one."
        )


def _refuse_null_member(values: list[Any], operator: str, place: str) -> None:
    if any(value is None for value in values):
        raise InvalidQuery(f"{place}: {operator} never finds null. Compare with IS and null.")


def _refuse_other_kind(column: Column, value: Any) -> None:
    if column.type == "json":
        raise InvalidQuery(f"{column.name!r}: a json column can only be compared with null.")
    if not isinstance(value, Parameter) and kind_of(value) != column.type:
        raise InvalidQuery(f"{column.name!r}: a {column.type} column is never compared with a {kind_of(value)}.")


def _refuse_scalar(value: Any, place: str) -> None:
    """Refuses what is not one value of JSON that zero-cache takes, and repeats nothing of it."""
    match value:
        case None | bool() | Parameter():
            return
        case str():
            try:
                value.encode()
            except UnicodeEncodeError as error:
                raise InvalidQuery(f"{place}: the text has half a surrogate pair, which is not a character.") from error
        case int():
            if abs(value) > MAX_SAFE_INTEGER:
                raise InvalidQuery(f"{place}: no number column holds integers beyond ±(2^53 - 1).")
        case float():
            if not math.isfinite(value):
                raise InvalidQuery(f"{place}: a number column holds finite numbers only.")
        case _:
            raise InvalidQuery(f"{place}: compare with a string, a number, true or false, or null.")


def kind_of(value: Any) -> str:
    """The type of the columns that hold such values."""
    if isinstance(value, bool):
        return "boolean"
    return "string" if isinstance(value, str) else "number"


# Conditions, as in zql/src/query/expression.ts


def _checked_condition(condition: Any) -> Condition:
    if not isinstance(condition, dict) or condition.get("type") not in ("simple", "and", "or", "correlatedSubquery"):
        raise InvalidQuery("A condition comes from cmp, and_, or_, not_ or exists.")
    return condition


def _and(*conditions: Condition | None) -> Condition:
    parts = [_checked_condition(condition) for condition in conditions if condition is not None and condition != _TRUE]
    if len(parts) == 1:
        return parts[0]
    return _FALSE if _FALSE in parts else {"type": "and", "conditions": parts}


def _or(*conditions: Condition | None) -> Condition:
    parts = [_checked_condition(condition) for condition in conditions if condition is not None and condition != _FALSE]
    if len(parts) == 1:
        return parts[0]
    return _TRUE if _TRUE in parts else {"type": "or", "conditions": parts}


def _not(condition: Condition) -> Condition:
    match condition:
        case {"type": "and" | "or" as kind, "conditions": parts}:
            return {"type": "or" if kind == "and" else "and", "conditions": [_not(part) for part in parts]}
        case _:
            return {**condition, "op": _NEGATED[condition["op"]]}


def _simplified(condition: Condition) -> Condition:
    if condition["type"] not in ("and", "or"):
        return condition
    kind, parts = condition["type"], condition["conditions"]
    if len(parts) == 1:
        return _simplified(parts[0])
    flat = _flattened(kind, [_simplified(part) for part in parts])
    if kind == "and" and _FALSE in flat:
        return _FALSE
    if kind == "or" and _TRUE in flat:
        return _TRUE
    return {"type": kind, "conditions": flat}


def _flattened(kind: str, parts: Sequence[Condition]) -> list[Condition]:
    return [inner for part in parts for inner in (part["conditions"] if part["type"] == kind else [part])]
