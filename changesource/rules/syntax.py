"""Rules and permissions, parsed from the form in which people write them.

`{"select": [rule, …], "insert": […], "update": {"before": […], "after": […]}, "delete": […]}`. A rule is a filter in
MongoDB's query syntax over names of columns, with three additions:

- the text `"$auth.<claim>"` in place of a value, or of all values of `$in` and `$nin`, stands for a claim of the caller;
- `{"$auth.<claim>": condition}` is a condition on a claim itself;
- `{"$exists": {"relationship": name, "where": rule}}` says that there is a related row, one that matches `where` if given.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from changesource.mql import (
    And,
    Compare,
    Exists,
    Filter,
    In,
    MqlError,
    Nor,
    Not,
    Or,
    Related,
    Variable,
    VariableCondition,
    check_nesting,
    parse_filter,
    parse_value_filter,
    read_mapping_text,
    walk,
)

NAMESPACE: Final = "auth"
"""The namespace of the variables in the rules of permissions, which are the claims of the caller."""

ACTIONS: Final = ("select", "insert", "update.before", "update.after", "delete")
"""The actions that rules can allow. `before` is the row as an update finds it, `after` the row as the update leaves it."""

_LOGICAL: Final[Mapping[str, type[And | Or | Nor]]] = {"$and": And, "$or": Or, "$nor": Nor}
_WHAT_IT_IS: Final = "Permissions are a JSON object with lists of rules under select, insert, update and delete."
_VARIABLE_PATTERN: Final = re.compile(r"\$(auth|client|args)\.(.*)", re.DOTALL)

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
"""zero-cache looks up claims as properties of JavaScript objects, which always have these."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. It matches nothing unless all of `variables` have values. `place` says where it is written: `select[0]`."""

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
    """The rules of each of `ACTIONS` that could be parsed, and what is wrong with the others."""

    rules: Mapping[str, tuple[Rule, ...]]
    problems: tuple[PermissionProblem, ...]


def parse_permissions(text: str) -> Permissions:
    """Parses the permissions of a table. Without text there are no rules, and nothing is allowed."""
    problems: list[PermissionProblem] = []
    rules: dict[str, tuple[Rule, ...]] = dict.fromkeys(ACTIONS, ())
    try:
        # MongoDB's Extended JSON, without repeated names and without anything that cannot be stored.
        lists = dict(_lists_of_rules(read_mapping_text(text, what_it_is=_WHAT_IT_IS)))
    except MqlError as error:
        return Permissions(rules, (PermissionProblem(error.place, error.message),))
    for action, sources in lists.items():
        parsed = []
        for index, source in enumerate(sources):
            place = f"{action}[{index}]"
            try:
                parsed.append(parse_rule(source, place))
            except MqlError as error:
                problems.append(PermissionProblem((place, *error.place), error.message))
        rules[action] = tuple(parsed)
    return Permissions(rules, tuple(problems))


def parse_rule(source: object, place: str = "", namespaces: tuple[str, ...] = (NAMESPACE,)) -> Rule:
    """Parses a rule whose variables are of `namespaces`. Raises `MqlError` with the place inside the rule."""
    check_nesting(source)
    filter = _parse(source, namespaces)
    return Rule(place, source, filter, tuple(sorted(_needed_variables(filter), key=str)))


def _lists_of_rules(specification: Mapping[str, Any]) -> Iterator[tuple[str, list[Any]]]:
    for action, rules in specification.items():
        if action == "update":
            if not isinstance(rules, Mapping) or not rules.keys() <= {"before", "after"}:
                raise MqlError('Write {"before": […], "after": […]}.', ("update",))
            for moment, rules_of_moment in rules.items():
                yield f"update.{moment}", _list_of_rules(rules_of_moment, "update", moment)
        elif action in ACTIONS and "." not in action:
            yield action, _list_of_rules(rules, action)
        else:
            raise MqlError("The actions are select, insert, update and delete.", (action,))


def _list_of_rules(rules: object, *place: str) -> list[Any]:
    if not isinstance(rules, list):
        raise MqlError("Write a list of rules; {} is the rule that everybody passes.", place)
    return rules


# One rule


def _parse(source: object, namespaces: tuple[str, ...]) -> Filter:
    if not isinstance(source, Mapping):
        raise MqlError('A rule is an object, as in {"owner": "$auth.sub"}.')
    conditions = []
    for name, value in source.items():
        try:
            conditions.append(_parse_entry(name, value, namespaces))
        except MqlError as error:
            # Errors of the parser of filters have their place already.
            raise (error if error.place[:1] == (name,) else error.within(name)) from error
    return conditions[0] if len(conditions) == 1 else And(tuple(conditions))


def _parse_entry(name: str, value: Any, namespaces: tuple[str, ...]) -> Filter:
    if name in _LOGICAL:
        return _LOGICAL[name](tuple(_parse_members(value, namespaces)))
    if name == "$exists":
        return _parse_related(value, namespaces)
    variable = _variable(name, namespaces)
    if variable is not None:
        return VariableCondition(variable, parse_value_filter(_with_variables(value, namespaces)))
    return parse_filter({name: _with_variables(value, namespaces)})


def _parse_members(members: Any, namespaces: tuple[str, ...]) -> Iterator[Filter]:
    if not isinstance(members, list) or not members:
        raise MqlError("This takes an array of one rule or more.")
    for index, member in enumerate(members):
        try:
            yield _parse(member, namespaces)
        except MqlError as error:
            raise error.within(f"[{index}]") from error


def _parse_related(argument: Any, namespaces: tuple[str, ...]) -> Filter:
    if not isinstance(argument, Mapping) or not {"relationship"} <= argument.keys() <= {"relationship", "where"}:
        raise MqlError('Write {"relationship": "members", "where": {…}}; where may be left out.')
    relationship = argument["relationship"]
    if not isinstance(relationship, str):
        raise MqlError("Write the name of a relationship.", ("relationship",))
    try:
        return Related(relationship, _parse(argument.get("where", {}), namespaces))
    except MqlError as error:
        raise error.within("where") from error


def _with_variables(value: Any, namespaces: tuple[str, ...]) -> Any:
    """`value` with a `Variable` in place of each text that names one."""
    if isinstance(value, str):
        variable = _variable(value, namespaces)
        return value if variable is None else variable
    if isinstance(value, list):
        return [_with_variables(member, namespaces) for member in value]
    if isinstance(value, dict):
        return {name: _with_variables(member, namespaces) for name, member in value.items()}
    return value


def _variable(text: str, namespaces: tuple[str, ...]) -> Variable | None:
    match = _VARIABLE_PATTERN.fullmatch(text)
    if match is None:
        return None
    if match[1] not in namespaces:
        raise MqlError(f"{text!r}: only {_listed(namespaces)} can be named here.")
    path = tuple(match[2].split("."))
    for name in path:
        if not name or "\0" in name:
            raise MqlError(f"{text!r}: a name is missing. Write ${match[1]}.<name>.")
        if name in _NAMES_OF_EVERY_OBJECT:
            raise MqlError(f"{text!r}: {name} is something that every object has in JavaScript. Use another claim.")
    return Variable(match[1], path)


def _listed(namespaces: tuple[str, ...]) -> str:
    return " and ".join(f"${namespace}.<name>" for namespace in namespaces)


# What a rule needs


def _needed_variables(filter: Filter) -> set[Variable]:
    """All variables in the rule, except those about which it only asks whether they are present."""
    needed: set[Variable] = set()
    for part in walk(filter):
        match part:
            case Related(_, condition):
                needed |= _needed_variables(condition)
            case VariableCondition(variable, condition) if not asks_for_presence(condition):
                needed.add(variable)
            case Compare(_, _, Variable() as variable) | In(_, Variable() as variable, _):
                needed.add(variable)
            case In(_, tuple() as values, _):
                needed.update(value for value in values if isinstance(value, Variable))
    return needed


def asks_for_presence(condition: Filter) -> bool:
    """Whether the condition on a value only asks whether there is one."""
    return all(_is_about_presence(part) for part in walk(condition))


def _is_about_presence(part: Filter) -> bool:
    match part:
        case And() | Not() | Exists() | Compare(_, "$eq", None):
            return True
        case _:
            return False
