"""Rules and permissions as people write them, to their parsed form.

`{"select": [rule, …], "insert": […], "update": {"before": […], "after": […]}, "delete": […]}`. A rule is a filter in
MongoDB's query syntax over names of columns, with three additions:

- the text `"$auth.<claim>"` where a value stands, and for all values of `$in` and `$nin`: the caller's claim;
- `{"$auth.<claim>": condition}`: a condition on a claim itself;
- `{"$exists": {"relationship": name, "where": rule}}`: there is a related row, and `where`, if there is one, matches it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from changesource.mql.errors import MappingError
from changesource.mql.expressions import Scope
from changesource.mql.filters.syntax import parse_filter, parse_value_filter
from changesource.mql.filters.tree import (
    And,
    Compare,
    Exists,
    Filter,
    In,
    Nor,
    Not,
    Or,
    Related,
    Variable,
    VariableCondition,
)
from changesource.mql.nesting import check_nesting
from changesource.mql.text import read_mapping_text

NAMESPACE: Final = "auth"
"""Of the variables that rules of permissions may name: the claims of the caller."""

ACTIONS: Final = ("select", "insert", "update.before", "update.after", "delete")
"""What rules are for. `before` and `after` are the row as an update finds it and as it leaves it."""

_LOGICAL: Final[Mapping[str, type[And | Or | Nor]]] = {"$and": And, "$or": Or, "$nor": Nor}
_WHAT_IT_IS: Final = "Permissions are a JSON object with lists of rules under select, insert, update and delete."
_VARIABLE_PATTERN: Final = re.compile(r"\$(auth|client)\.(.*)", re.DOTALL)

_NAMES_OF_EVERY_OBJECT: Final = frozenset(
    {
        "__defineGetter__",
        "__defineSetter__",
        "__lookupGetter__",
        "__lookupSetter__",
        "__proto__",
        "constructor",
        "hasOwnProperty",
        "isPrototypeOf",
        "propertyIsEnumerable",
        "toLocaleString",
        "toString",
        "valueOf",
        "length",
    }
)
"""zero-cache looks claims up as properties of JavaScript objects, where these are always there."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. `variables` are those without which it matches nothing; `place` is where it stands: `select[0]`."""

    place: str
    source: Any
    filter: Filter
    variables: tuple[Variable, ...]


@dataclass(frozen=True, slots=True)
class PermissionProblem:
    """What is wrong at a place in permissions."""

    place: tuple[str, ...]
    message: str

    def __str__(self) -> str:
        return f"{'.'.join(self.place)}: {self.message}" if self.place else self.message


@dataclass(frozen=True, slots=True)
class Permissions:
    """The rules of each of `ACTIONS`, as far as they could be parsed, and what is wrong with the others."""

    rules: Mapping[str, tuple[Rule, ...]]
    problems: tuple[PermissionProblem, ...]


def parse_permissions(text: str) -> Permissions:
    """The permissions of a table. No text: no rules, so that nobody may do anything."""
    problems: list[PermissionProblem] = []
    rules: dict[str, tuple[Rule, ...]] = dict.fromkeys(ACTIONS, ())
    try:
        # The reader of mappings: MongoDB's Extended JSON, nothing twice, nothing that could not be stored.
        lists = dict(_lists_of_rules(read_mapping_text(text, what_it_is=_WHAT_IT_IS)))
    except MappingError as error:
        return Permissions(rules, (PermissionProblem(error.place, error.message),))
    for action, sources in lists.items():
        parsed = []
        for index, source in enumerate(sources):
            place = f"{action}[{index}]"
            try:
                parsed.append(parse_rule(source, place))
            except MappingError as error:
                problems.append(PermissionProblem((place, *error.place), error.message))
        rules[action] = tuple(parsed)
    return Permissions(rules, tuple(problems))


def parse_rule(source: object, place: str = "", namespace: str = NAMESPACE) -> Rule:
    """The rule that `source` is, with variables of `namespace`. Raises `MappingError` with the place inside."""
    check_nesting(source)
    filter = _parse(source, namespace)
    return Rule(place, source, filter, tuple(sorted(_needed_variables(filter), key=str)))


def _lists_of_rules(specification: Mapping[str, Any]) -> Iterator[tuple[str, list[Any]]]:
    for action, rules in specification.items():
        if action == "update":
            if not isinstance(rules, Mapping) or not rules.keys() <= {"before", "after"}:
                raise MappingError('Write {"before": […], "after": […]}.', ("update",))
            for moment, rules_of_moment in rules.items():
                yield f"update.{moment}", _list_of_rules(rules_of_moment, "update", moment)
        elif action in ACTIONS and "." not in action:
            yield action, _list_of_rules(rules, action)
        else:
            raise MappingError("The actions are select, insert, update and delete.", (action,))


def _list_of_rules(rules: object, *place: str) -> list[Any]:
    if not isinstance(rules, list):
        raise MappingError("Write a list of rules; {} is the rule that everybody passes.", place)
    return rules


# One rule


def _parse(source: object, namespace: str) -> Filter:
    if not isinstance(source, Mapping):
        raise MappingError('A rule is an object, as in {"owner": "$auth.sub"}.')
    conditions = []
    for name, value in source.items():
        try:
            conditions.append(_parse_entry(name, value, namespace))
        except MappingError as error:
            # What the parser of filters raises has its place already.
            raise (error if error.place[:1] == (name,) else error.within(name)) from error
    return conditions[0] if len(conditions) == 1 else And(tuple(conditions))


def _parse_entry(name: str, value: Any, namespace: str) -> Filter:
    if name in _LOGICAL:
        return _LOGICAL[name](tuple(_parse_members(value, namespace)))
    if name == "$exists":
        return _parse_related(value, namespace)
    variable = _variable(name, namespace)
    if variable is not None:
        return VariableCondition(variable, parse_value_filter(_with_variables(value, namespace)))
    return parse_filter({name: _with_variables(value, namespace)}, Scope())


def _parse_members(members: Any, namespace: str) -> Iterator[Filter]:
    if not isinstance(members, list) or not members:
        raise MappingError("This takes an array of one rule or more.")
    for index, member in enumerate(members):
        try:
            yield _parse(member, namespace)
        except MappingError as error:
            raise error.within(f"[{index}]") from error


def _parse_related(argument: Any, namespace: str) -> Filter:
    if not isinstance(argument, Mapping) or not {"relationship"} <= argument.keys() <= {"relationship", "where"}:
        raise MappingError('Write {"relationship": "members", "where": {…}}; where may be left out.')
    relationship = argument["relationship"]
    if not isinstance(relationship, str):
        raise MappingError("Write the name of a relationship.", ("relationship",))
    try:
        return Related(relationship, _parse(argument.get("where", {}), namespace))
    except MappingError as error:
        raise error.within("where") from error


def _with_variables(value: Any, namespace: str) -> Any:
    """`value` with a `Variable` in place of each text that names one."""
    if isinstance(value, str):
        variable = _variable(value, namespace)
        return value if variable is None else variable
    if isinstance(value, list):
        return [_with_variables(member, namespace) for member in value]
    if isinstance(value, dict):
        return {name: _with_variables(member, namespace) for name, member in value.items()}
    return value


def _variable(text: str, namespace: str) -> Variable | None:
    match = _VARIABLE_PATTERN.fullmatch(text)
    if match is None:
        return None
    if match[1] != namespace:
        raise MappingError(f"{text!r}: only ${namespace}.<name> can be named here.")
    path = tuple(match[2].split("."))
    for name in path:
        if not name or "\0" in name:
            raise MappingError(f"{text!r}: a name is missing. Write ${namespace}.<name>.")
        if name in _NAMES_OF_EVERY_OBJECT:
            raise MappingError(f"{text!r}: {name} is something that every object has in JavaScript. Use another claim.")
    return Variable(match[1], path)


# What a rule needs


def _needed_variables(filter: Filter) -> frozenset[Variable]:
    """All that are named, but not those that are only asked whether they are there."""
    match filter:
        case And(members) | Or(members) | Nor(members):
            return frozenset().union(*map(_needed_variables, members))
        case Not(member) | Related(_, member):
            return _needed_variables(member)
        case VariableCondition(variable, condition):
            return frozenset() if asks_for_presence(condition) else frozenset({variable})
        case Compare(_, _, Variable() as variable) | In(_, Variable() as variable, _):
            return frozenset({variable})
        case In(_, tuple() as values, _):
            return frozenset(value for value in values if isinstance(value, Variable))
        case _:
            return frozenset()


def asks_for_presence(condition: Filter) -> bool:
    """Whether the condition on a value is about nothing but its being there."""
    match condition:
        case And(members):
            return all(map(asks_for_presence, members))
        case Not(member):
            return asks_for_presence(member)
        case Exists() | Compare(_, "$eq", None):
            return True
        case _:
            return False
