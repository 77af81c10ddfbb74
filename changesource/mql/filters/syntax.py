"""MongoDB's query language, as in `find`, from its objects to the parsed form.

MongoDB: manual/reference/operator/query. What is an error there is one here (matcher/expression_parser.cpp).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from bson import Regex

from changesource.mql.bson_types import MAX_LONG, MIN_LONG, MISSING, is_truthy, type_name
from changesource.mql.errors import MqlError
from changesource.mql.expressions import Scope, compile_expression
from changesource.mql.filters.arguments import divisor_and_remainder, size_of, types_of
from changesource.mql.filters.regexes import regex_of, regex_with_options
from changesource.mql.filters.tree import (
    All,
    And,
    Compare,
    ComparisonOperator,
    ElemMatch,
    ElemMatchValue,
    Exists,
    Expr,
    Filter,
    HasRemainder,
    HasSize,
    HasType,
    In,
    MatchesPattern,
    Nor,
    Not,
    Or,
    Path,
    Variable,
)

_LOGICAL: Final[Mapping[str, type[And | Or | Nor]]] = {"$and": And, "$or": Or, "$nor": Nor}

_NO_INDEX = "it needs an index or a place on Earth, not the document alone"
_NO_CODE = "no code is run"
_NO_BITS = "bits of numbers are not looked at; compute them with $expr or in the application"
_REFUSED: Final[Mapping[str, str]] = {
    "$where": _NO_CODE,
    "$text": _NO_INDEX,
    "$near": _NO_INDEX,
    "$nearSphere": _NO_INDEX,
    "$geoWithin": _NO_INDEX,
    "$geoIntersects": _NO_INDEX,
    "$within": _NO_INDEX,
    "$jsonSchema": "say with $type, $exists and comparisons what the document must have",
    "$comment": "it says nothing about documents; take it out",
    "$rand": "a row may depend on its document alone, not on chance",
    "$sampleRate": "a row may depend on its document alone, not on chance",
    "$bitsAllSet": _NO_BITS,
    "$bitsAnySet": _NO_BITS,
    "$bitsAllClear": _NO_BITS,
    "$bitsAnyClear": _NO_BITS,
}

_PATHLESS: Final = frozenset({*_LOGICAL, "$expr", "$where", "$text", "$jsonSchema", "$comment", "$sampleRate"})
"""Names that begin a filter of objects in $elemMatch although they begin with $ (mongod: retrievePathlessParser)."""

_DBREF_NAMES: Final = frozenset({"$ref", "$id", "$db"})
"""Fields of references, the only ones that may begin with $."""


def parse_filter(filter: object, scope: Scope | None = None) -> Filter:
    """The parsed form of the filter in `find(filter)`. The fields that $expr reads are added to `scope.reads`.

    Raises `MqlError` with its place: ("items", "$elemMatch", "k", "$gt"). The caller has checked the nesting.
    """
    return _parse_object(filter, Scope() if scope is None else scope)


def parse_value_filter(condition: object) -> Filter:
    """The parsed form of a condition on a value, written as beside the name of a field. Its paths are empty.

    Raises `MqlError` with its place.
    """
    return _all_of(_parse_field((), condition))


def _parse_object(filter: object, scope: Scope | None) -> Filter:
    """Parses a filter. Without a scope, which is so inside $elemMatch, $expr is refused."""
    if not isinstance(filter, Mapping):
        raise MqlError(f'A filter is an object, as in {{"name": "value"}}, not {_named_type(filter)}.')
    conditions: list[Filter] = []
    for name, value in filter.items():
        with _within(_checked_name(name)):
            if name.startswith("$"):
                conditions.append(_parse_top_level(name, value, scope))
            else:
                conditions += _parse_field(tuple(name.split(".")), value)
    return _all_of(conditions)


def _parse_top_level(name: str, value: Any, scope: Scope | None) -> Filter:
    if name in _LOGICAL:
        return _LOGICAL[name](tuple(_parse_members(name, value, scope)))
    if name == "$expr":
        return _parse_expr(value, scope)
    if name in _DBREF_NAMES:
        return Compare((name,), "$eq", _literal(value))
    if name in _OPERATORS or name in ("$regex", "$options"):
        raise MqlError(f'{name} stands inside of a field\'s condition: {{"field": {{"{name}": …}}}}.')
    raise _no_operator(name, [*_LOGICAL, "$expr"])


def _parse_members(name: str, members: Any, scope: Scope | None) -> Iterator[Filter]:
    if not isinstance(members, list | tuple) or not members:
        raise MqlError(f"{name} takes an array of one filter or more.")
    for index, member in enumerate(members):
        with _within(f"[{index}]"):
            yield _parse_object(member, scope)


def _parse_expr(expression: Any, scope: Scope | None) -> Filter:
    if scope is None:
        raise MqlError("$expr is about the whole document and cannot stand inside $elemMatch. Take it outside.")
    inner = Scope(scope.variables, folding=scope.folding)
    node = compile_expression(expression, inner)
    scope.reads.update(inner.reads)
    return Expr(expression, node, frozenset(inner.reads))


def _parse_field(path: Path, value: Any) -> list[Filter]:
    if _is_operator_object(value):
        return _parse_operators(path, value)
    if isinstance(value, Regex | re.Pattern):
        return [MatchesPattern(path, regex_of(value))]
    return [Compare(path, "$eq", _literal(value))]


def _is_operator_object(value: Any) -> bool:
    """Whether all names are operators. Raises `MqlError` for operators beside plain names."""
    if not isinstance(value, Mapping) or {"$ref", "$id"} <= value.keys():
        return False
    operators = [name for name in value if isinstance(name, str) and name.startswith("$")]
    if operators and len(operators) < len(value):
        raise MqlError(f"An object with {operators[0]} has operators only. Take the other names out.")
    return bool(operators)


def _parse_operators(path: Path, operators: Mapping[str, Any]) -> list[Filter]:
    conditions: list[Filter] = []
    for name, argument in operators.items():
        with _within(_checked_name(name)):
            if name == "$options":
                if "$regex" not in operators:
                    raise MqlError("$options belongs to a $regex, which is not there.")
            elif name == "$regex":
                conditions.append(_parse_regex(path, argument, operators.get("$options", MISSING)))
            elif name in _OPERATORS:
                conditions.append(_OPERATORS[name](path, argument))
            else:
                raise _no_operator(name, [*_OPERATORS, "$regex", "$options"])
    return conditions


# Operators of a field


def _parse_comparison(operator: ComparisonOperator) -> Callable[[Path, Any], Filter]:
    def parse(path: Path, argument: Any) -> Filter:
        if operator != "$eq" and isinstance(argument, Regex | re.Pattern):
            raise MqlError(f"{operator} does not take a regular expression. Use $regex.")
        return Compare(path, operator, _literal(argument))

    return parse


def _parse_ne(path: Path, argument: Any) -> Filter:
    if isinstance(argument, Regex | re.Pattern):
        raise MqlError("$ne does not take a regular expression. Use $not.")
    return Not(Compare(path, "$eq", _literal(argument)))


def _parse_in(path: Path, argument: Any) -> Filter:
    if isinstance(argument, Variable):
        return In(path, argument, ())
    values, patterns = [], []
    for index, member in enumerate(_array("$in and $nin", argument)):
        with _within(f"[{index}]"):
            if _is_operator_object(member):
                raise MqlError("The array holds values and regular expressions, but no operators.")
            if isinstance(member, Regex | re.Pattern):
                patterns.append(regex_of(member))
            else:
                values.append(_literal(member))
    return In(path, tuple(values), tuple(patterns))


def _parse_not(path: Path, argument: Any) -> Filter:
    if isinstance(argument, Regex | re.Pattern):
        return Not(MatchesPattern(path, regex_of(argument)))
    if not _is_operator_object(argument):
        raise MqlError("$not takes an object of operators or a regular expression. For a value, use $ne.")
    return Not(_all_of(_parse_operators(path, argument)))


def _parse_exists(path: Path, argument: Any) -> Filter:
    return Exists(path) if is_truthy(_literal(argument)) else Not(Exists(path))


def _parse_regex(path: Path, argument: Any, options: Any) -> Filter:
    """`options` is the argument of the $options beside it, or `MISSING`."""
    if isinstance(argument, str):
        return MatchesPattern(path, regex_with_options(argument, _letters(options)))
    if not isinstance(argument, Regex | re.Pattern):
        raise MqlError("$regex takes a string or a regular expression.")
    regex = regex_of(argument)
    if options is MISSING:
        return MatchesPattern(path, regex)
    if regex.flags:
        raise MqlError("The options stand both in $regex and in $options. Leave them in one.")
    return MatchesPattern(path, regex_with_options(regex.pattern, _letters(options)))


def _letters(options: Any) -> str:
    if options is MISSING:
        return ""
    if isinstance(options, str):
        return options
    raise MqlError("$options takes a string of the letters i, m, s, x and u.")


def _parse_all(path: Path, argument: Any) -> Filter:
    members: list[Compare | MatchesPattern | ElemMatch | ElemMatchValue] = []
    for index, member in enumerate(_array("$all", argument)):
        with _within(f"[{index}]"):
            if _is_operator_object(member):
                if [*member] != ["$elemMatch"]:
                    raise MqlError("Of the operators, only $elemMatch can stand in $all.")
                with _within("$elemMatch"):
                    members.append(_parse_elem_match(path, member["$elemMatch"]))
            elif isinstance(member, Regex | re.Pattern):
                members.append(MatchesPattern(path, regex_of(member)))
            else:
                members.append(Compare(path, "$eq", _literal(member)))
    if len({isinstance(member, ElemMatch | ElemMatchValue) for member in members}) > 1:
        raise MqlError("$all takes values, or objects with $elemMatch, but not both.")
    return All(path, tuple(members))


def _parse_elem_match(path: Path, argument: Any) -> ElemMatch | ElemMatchValue:
    if not isinstance(argument, Mapping):
        raise MqlError("$elemMatch takes an object: a filter of objects, or operators for values.")
    first = _checked_name(next(iter(argument), ""))
    if first.startswith("$") and first not in _PATHLESS and first not in _DBREF_NAMES:
        return ElemMatchValue(path, _all_of(_parse_operators((), argument)))
    return ElemMatch(path, _parse_object(argument, None))


_OPERATORS: Final[Mapping[str, Callable[[Path, Any], Filter]]] = {
    "$eq": _parse_comparison("$eq"),
    "$ne": _parse_ne,
    "$gt": _parse_comparison("$gt"),
    "$gte": _parse_comparison("$gte"),
    "$lt": _parse_comparison("$lt"),
    "$lte": _parse_comparison("$lte"),
    "$in": _parse_in,
    "$nin": lambda path, argument: Not(_parse_in(path, argument)),
    "$not": _parse_not,
    "$exists": _parse_exists,
    "$type": lambda path, argument: HasType(path, types_of(argument)),
    "$all": _parse_all,
    "$size": lambda path, argument: HasSize(path, size_of(argument)),
    "$elemMatch": _parse_elem_match,
    "$mod": lambda path, argument: HasRemainder(path, *divisor_and_remainder(argument)),
}


# Parts


def _literal(value: Any) -> Any:
    """A copy of a constant, with lists for arrays. Raises `MqlError` for what is neither BSON nor a variable."""
    if isinstance(value, Variable):
        return value
    if isinstance(value, Mapping):
        return {_checked_name(name): _literal(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [_literal(member) for member in value]
    if isinstance(value, int) and not MIN_LONG <= value <= MAX_LONG:
        raise MqlError("An integer needs more than 64 bits, which BSON has not. Use a decimal.")
    try:
        type_name(value)
    except TypeError as error:
        raise MqlError(f"{error}. Write values of BSON's types only.") from error
    return value


def _array(operator: str, argument: Any) -> list[Any] | tuple[Any, ...]:
    if isinstance(argument, list | tuple):
        return argument
    raise MqlError(f"{operator} takes an array, not {_named_type(argument)}.")


def _all_of(conditions: list[Filter]) -> Filter:
    return conditions[0] if len(conditions) == 1 else And(tuple(conditions))


def _checked_name(name: object) -> str:
    if not isinstance(name, str) or "\0" in name:
        raise MqlError("Names in a filter are strings, and have no U+0000 in them.")
    return name


def _named_type(value: object) -> str:
    try:
        return f"a BSON {type_name(value)}"
    except TypeError:
        return f"{type(value).__name__}, which is not a BSON type"


def _no_operator(name: str, there_are: list[str]) -> MqlError:
    if name in _REFUSED:
        return MqlError(f"{name} is refused: {_REFUSED[name]}.")
    return MqlError(f"There is no operator {name!r} here. There are {', '.join(sorted(there_are))}.")


@contextmanager
def _within(step: str) -> Iterator[None]:
    try:
        yield
    except MqlError as error:
        raise error.within(step) from error
