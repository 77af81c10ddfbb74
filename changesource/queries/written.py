"""Queries that are written as JSON, in admin or in a file, and published with their app.

    {"rooms.byKind": {
        "args": {"kind": "string", "tags": "string[]", "size": "number?"},
        "table": "room",
        "where": {"kind": "$args.kind", "owner": "$auth.sub"},
        "related": [{"relationship": "members", "where": {"level": {"$gt": 2}}, "orderBy": [["name", "asc"]], "limit": 10}],
        "orderBy": [["name", "asc"]], "limit": 5, "one": false}}

All names are those of the schema. `where` is a filter in the language of rules (`rules.syntax`), so in MongoDB's: `$ne` is
true of null. `$args.<name>` and `$auth.<claim>` stand for values, never for operators; where one is missing, nothing
matches. An argument with a question mark may be left out.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

from changesource.mql import Compare, Filter, In, MqlError, Related, Variable, VariableCondition, check_nesting, walk
from changesource.queries.builder import Condition, Query, Tables
from changesource.queries.errors import ApplicationError, InvalidQuery
from changesource.queries.registry import MAX_NAME_LENGTH, NAME_PATTERN, Caller
from changesource.rules.checks import RuleScope, has_all_tables, rule_problems
from changesource.rules.matching import ByNamespace, bound
from changesource.rules.syntax import NAMESPACE, Rule, parse_rule
from changesource.rules.zero_condition import EVERYBODY, zero_condition
from changesource.tables.definition import AppDefinition, Table

ARGUMENTS: Final = "args"
"""The namespace of the variables that stand for arguments."""
MAX_WRITTEN_QUERIES: Final = 1_000
"""The limit of an app."""

_ARGUMENT_TYPE: Final = re.compile(r"(string|number|boolean)(\[\])?(\?)?")
_ARGUMENT_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KEYS: Final = frozenset({"args", "table", "where", "related", "orderBy", "limit", "one"})
_RELATED_KEYS: Final = frozenset({"relationship", "where", "related", "orderBy", "limit"})


@dataclass(frozen=True, slots=True)
class ArgumentType:
    """`kind` is a type of columns. A list holds values of it, and an optional argument may be missing or null."""

    kind: str
    is_list: bool
    is_optional: bool

    def __str__(self) -> str:
        return f"{self.kind}{'[]' if self.is_list else ''}{'?' if self.is_optional else ''}"

    def accepts(self, value: Any) -> bool:
        if value is None:
            return self.is_optional
        if self.is_list:
            return isinstance(value, list) and all(_is_of(self.kind, member) for member in value)
        return _is_of(self.kind, value)


def _is_of(kind: str, value: Any) -> bool:
    match value:
        case bool():
            return kind == "boolean"
        case str():
            return kind == "string" and not any("\ud800" <= character <= "\udfff" for character in value)
        case int() | float():
            return kind == "number" and abs(value) <= sys.float_info.max  # an integer may have hundreds of digits
        case _:
            return False


class WrittenQuery:
    """One query without problems, called `name`, over the tables of `scope`."""

    def __init__(self, scope: RuleScope, name: str, source: Mapping[str, Any]) -> None:
        self.name = name
        self._source = source
        self._scope = scope
        self._rules: dict[int, Rule] = {}

    @cached_property
    def arguments(self) -> Mapping[str, ArgumentType]:
        return {name: _argument_type(text) for name, text in self._source.get("args", {}).items()}

    def build(self, tables: Tables, argument: Any, caller: Caller) -> Query:
        """The query for the JSON value `argument`, None for no argument. Raises `ApplicationError`."""
        values = ByNamespace({ARGUMENTS: self._validated(argument), NAMESPACE: caller.claims})
        return self._query(tables, lambda rule: replace(rule, filter=bound(rule, values), variables=()))

    def trace(self, tables: Tables) -> Query:
        """The query with `Parameter._value_position` in place of values, as `tracing.trace` gives it."""
        return self._query(tables, self._with_needed)

    def _query(self, tables: Tables, bind: Any) -> Query:
        query = _shaped(
            tables[self._source["table"]], self._source, lambda table, where: self._where(table, where, bind)
        )
        return query.one() if self._source.get("one") else query

    def _where(self, table_name: str, where: Mapping[str, Any], bind: Any) -> Condition:
        plain = self._names_of_the_schema
        table = plain.tables[table_name]
        rule = self._rules.get(id(where))
        if rule is None:
            rule = parse_rule(where, namespaces=(NAMESPACE, ARGUMENTS))
            if not has_all_tables(plain, table, rule.filter):
                raise InvalidQuery(f"The query {self.name!r} asks for a table that is not there.")
            self._rules[id(where)] = rule
        condition: Condition = _of_client(zero_condition(plain, table, bind(rule)))
        return condition

    def _with_needed(self, rule: Rule) -> Rule:
        """`rule` without the condition that arguments are there which always are."""
        optional = {name for name, kind in self.arguments.items() if kind.is_optional}
        needed = [each for each in rule.variables if each.namespace != ARGUMENTS or each.path[0] in optional]
        return replace(rule, variables=tuple(needed))

    @cached_property
    def _names_of_the_schema(self) -> RuleScope:
        return names_of_the_schema(self._scope)

    def _validated(self, argument: Any) -> Mapping[str, Any]:
        """Raises `ApplicationError` in the form of @rocicorp/zero (zql/src/query/validate-input.ts)."""
        given = {} if argument is None else argument
        if not isinstance(given, dict):
            issues = [{"message": "The argument is an object.", "path": []}]
        else:
            issues = [
                {"message": f"{name} is {kind}.", "path": [name]}
                for name, kind in self.arguments.items()
                if not kind.accepts(given.get(name))
            ]
        if issues:
            raise ApplicationError(
                f"Validation failed for query {self.name}: {', '.join(str(issue['message']) for issue in issues)}",
                details={"type": "InputValidationError", "result": {"issues": issues}},
            )
        return {name: given.get(name) for name in self.arguments}


def names_of_the_schema(scope: RuleScope) -> RuleScope:
    """The same tables, without names of their own in the replica."""
    tables = tuple(
        replace(
            table, server_name=table.name, columns=tuple(replace(each, server_name=each.name) for each in table.columns)
        )
        for table in scope.app.tables
    )
    return RuleScope(replace(scope.app, tables=tables))


def _shaped(query: Query, source: Mapping[str, Any], condition: Any) -> Query:
    """`query` with everything that `source` says about it. `condition` makes one of a table's name and a filter."""
    if where := source.get("where"):
        made = condition(query.ast["table"], where)
        query = query if made == EVERYBODY else query.where(lambda _: made)
    for each in source.get("related", ()):
        if len(each) == 1:
            query = query.related(each["relationship"])
        else:
            query = query.related(each["relationship"], lambda related, each=each: _shaped(related, each, condition))  # type: ignore[misc]
    for column, direction in source.get("orderBy", ()):
        query = query.order_by(column, direction)
    return query.limit(source["limit"]) if "limit" in source else query


def _of_client(condition: Any) -> Any:
    """A condition of rules as one of a query: the rows that an EXISTS finds are synced, as the client's own copy of the query
    looks for them, and its aliases and parameters are those of `builder`."""
    match condition:
        case {"type": "correlatedSubquery", "related": related}:
            subquery = dict(related["subquery"])
            if "where" in subquery:
                subquery["where"] = _of_client(subquery["where"])
            if (alias := subquery["alias"]).endswith("_junction"):
                name = alias.removeprefix("zsubq_").removesuffix("_junction")
                inner = subquery["where"]["related"]
                hidden = {**inner["subquery"], "alias": f"zsubq_zhidden_{name}"}
                subquery = {
                    **subquery,
                    "alias": f"zsubq_{name}",
                    "where": {**subquery["where"], "related": {**inner, "subquery": hidden}},
                }
            return {**condition, "related": {**related, "system": "client", "subquery": subquery}}
        case {"conditions": parts}:
            return {**condition, "conditions": [_of_client(part) for part in parts]}
        case {"left": left, "right": right}:
            return {**condition, "left": _of_client(left), "right": _of_client(right)}
        case {"type": "static", "anchor": anchor, "field": field}:
            path = [field] if isinstance(field, str) else field
            if anchor == ARGUMENTS:
                return {"type": "parameter", "anchor": ARGUMENTS, "path": path}
            return {"type": "parameter", "anchor": "caller", "path": ["claims", *path]}
        case _:
            return condition


def written_queries(app: AppDefinition) -> dict[str, WrittenQuery]:
    """The written queries of an app without problems, by name."""
    scope = RuleScope(app)
    return {name: WrittenQuery(scope, name, source) for name, source in app.queries.items()}


# What is wrong with them


@dataclass(frozen=True, slots=True)
class QueryProblem:
    """What is wrong at a place in the query called `name`."""

    name: str
    place: tuple[str, ...]
    message: str

    def __str__(self) -> str:
        place = ".".join(part for part in (repr(self.name)[1:-1], *self.place) if part)
        return f"{place}: {self.message}" if place else self.message


def find_query_problems(app: AppDefinition) -> Iterator[QueryProblem]:
    """Why the written queries of `app` cannot be published, in their order."""
    if not isinstance(app.queries, Mapping):
        yield QueryProblem("", (), "Write a JSON object with a query under each name.")
        return
    if len(app.queries) > MAX_WRITTEN_QUERIES:
        yield QueryProblem("", (), f"An app has at most {MAX_WRITTEN_QUERIES:,} queries. Take some out.")
        return
    scope = RuleScope(app)
    for name, source in app.queries.items():
        try:
            yield from (QueryProblem(name, place, message) for place, message in _problems(scope, name, source))
        except InvalidQuery as error:
            yield QueryProblem(name, (), error.message)


_Found = tuple[tuple[str, ...], str]


def _problems(scope: RuleScope, name: str, source: Any) -> Iterator[_Found]:
    if not NAME_PATTERN.fullmatch(name) or len(name) > MAX_NAME_LENGTH or "__proto__" in name.split("."):
        yield (), "Write words with dots between them as the name, such as rooms.byKind."
        return
    if not isinstance(source, Mapping) or not isinstance(source.get("table"), str):
        yield (), 'Write {"table": …}, with args, where, related, orderBy, limit and one where they are needed.'
        return
    try:
        check_nesting(source)
    except MqlError as error:
        yield (), error.message
        return
    if found := [*_argument_problems(source.get("args", {})), *_shape_problems(source, _KEYS)]:
        yield from found
        return
    if not isinstance(source.get("one", False), bool):
        yield ("one",), "Write true or false."
    table = scope.tables.get(source["table"])
    if table is None:
        yield ("table",), f"There is no table {source['table']!r}. Name a table of this app."
        return
    arguments = {argument: _argument_type(text) for argument, text in source.get("args", {}).items()}
    if found := list(_filter_problems(scope, table, source, arguments)):
        yield from found
    else:
        WrittenQuery(scope, name, source).trace(Tables(scope))  # what is wrong with related, orderBy and limit


def _argument_problems(arguments: Any) -> Iterator[_Found]:
    if not isinstance(arguments, Mapping):
        yield ("args",), 'Write an object: {"kind": "string"}.'
        return
    for name, kind in arguments.items():
        if not _ARGUMENT_NAME.fullmatch(name) or name == "__proto__":
            yield ("args",), f"{name!r} is not a name. Use letters, digits and underscores."
        elif not isinstance(kind, str) or not _ARGUMENT_TYPE.fullmatch(kind):
            yield ("args", name), "Write string, number or boolean; add [] for a list, and ? if it may be missing."


def _shape_problems(source: Mapping[str, Any], keys: frozenset[str]) -> Iterator[_Found]:
    for key in sorted(source.keys() - keys):
        yield (), f"There is no {key!r} here. There are {', '.join(sorted(keys))}."
    if not isinstance(source.get("where", {}), Mapping):
        yield ("where",), "Write a filter: an object."
    order = source.get("orderBy", [])
    if not isinstance(order, list) or not all(
        isinstance(each, list) and len(each) == 2 and all(isinstance(part, str) for part in each) for each in order
    ):
        yield ("orderBy",), 'Write a list: [["name", "asc"]].'
    related = source.get("related", [])
    if not isinstance(related, list):
        yield ("related",), 'Write a list: [{"relationship": "members"}].'
        return
    for index, each in enumerate(related):
        if not isinstance(each, Mapping) or not isinstance(each.get("relationship"), str):
            yield (f"related[{index}]",), 'Write {"relationship": "members"}.'
            continue
        for place, message in _shape_problems(each, _RELATED_KEYS):
            yield (f"related[{index}]", *place), message


def _filter_problems(
    scope: RuleScope, table: Table, source: Mapping[str, Any], arguments: Mapping[str, ArgumentType]
) -> Iterator[_Found]:
    try:
        rule = parse_rule(source.get("where", {}), namespaces=(NAMESPACE, ARGUMENTS))
    except MqlError as error:
        yield ("where", *error.place), error.message
        return
    for problem in rule_problems(scope, table, rule):
        yield ("where", *problem.place[1:]), problem.message
    for message in _variable_problems(scope, table, rule.filter, arguments):
        yield ("where",), message
    for index, each in enumerate(source.get("related", ())):
        relationship = scope.relationship(table, each["relationship"])
        if relationship is not None:
            found = _filter_problems(scope, scope.tables[relationship.destination], each, arguments)
            yield from ((("related[" + str(index) + "]", *place), message) for place, message in found)


def _variable_problems(
    scope: RuleScope, table: Table, filter: Filter, arguments: Mapping[str, ArgumentType]
) -> Iterator[str]:
    for part in walk(filter):
        match part:
            case Related(name, condition):
                relationship = scope.relationship(table, name)
                if relationship is not None:
                    yield from _variable_problems(scope, scope.tables[relationship.destination], condition, arguments)
            case VariableCondition(variable, _):
                yield from _argument_misuse(variable, arguments, None, is_list=None)
            case Compare((name,), _, Variable() as variable):
                yield from _argument_misuse(variable, arguments, scope.column(table, name), is_list=False)
            case In((name,), Variable() as variable, _):
                yield from _argument_misuse(variable, arguments, scope.column(table, name), is_list=True)
            case In((name,), tuple() as values, _):
                for value in values:
                    if isinstance(value, Variable):
                        yield from _argument_misuse(value, arguments, scope.column(table, name), is_list=False)
            case _:
                pass


def _argument_misuse(
    variable: Variable, arguments: Mapping[str, ArgumentType], column: Any, *, is_list: bool | None
) -> Iterator[str]:
    if variable.namespace != ARGUMENTS:
        return
    kind = arguments.get(variable.path[0])
    if kind is None or len(variable.path) > 1:
        yield f"{variable}: there is no such argument. Add it to args."
    elif is_list is not None and kind.is_list != is_list:
        yield f"{variable}: {'$in and $nin take a list: write its type with []' if is_list else 'a list is only for $in'}."
    elif column is not None and column.type != kind.kind:
        yield f"{variable} is a {kind.kind}, and {column.name!r} a {column.type} column: they are never equal."


def _argument_type(text: str) -> ArgumentType:
    match = _ARGUMENT_TYPE.fullmatch(text)
    if match is None:
        raise InvalidQuery(f"{json.dumps(text)} is not the type of an argument.")
    return ArgumentType(match[1], bool(match[2]), bool(match[3]))
