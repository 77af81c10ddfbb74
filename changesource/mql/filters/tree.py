"""The parsed form of a filter, of which each back end makes its own: a predicate, a MongoDB query, Zero's condition.

A path holds the names between the dots of a field's path. Inside `ElemMatchValue` and `VariableCondition` it is empty: the
condition is about the value itself. Values are BSON values.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from bson import Regex

from changesource.mql.expressions import Node

Path = tuple[str, ...]
ComparisonOperator = Literal["$eq", "$gt", "$gte", "$lt", "$lte"]


@dataclass(frozen=True, slots=True)
class Variable:
    """A value that is known only when the filter is used, such as a claim of the caller: `$auth.<path>`."""

    namespace: str
    path: Path

    def __str__(self) -> str:
        return ".".join((f"${self.namespace}", *self.path))


@dataclass(frozen=True, slots=True)
class And:
    """All members match. Without members, every document does."""

    members: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """A member matches. Without members, no document does."""

    members: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Nor:
    """No member matches."""

    members: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """$not. $ne, $nin and `$exists: false` are parsed to it as well."""

    member: Filter


@dataclass(frozen=True, slots=True)
class Compare:
    """The value at the path compares with `value`, which may be a `Variable`."""

    path: Path
    operator: ComparisonOperator
    value: Any


@dataclass(frozen=True, slots=True)
class In:
    """The value at the path is one of `values`, or a string that matches one of `patterns`.

    A `Variable` can stand for all of the values.
    """

    path: Path
    values: tuple[Any, ...] | Variable
    patterns: tuple[Regex[str], ...]


@dataclass(frozen=True, slots=True)
class Exists:
    """There is a value at the path."""

    path: Path


@dataclass(frozen=True, slots=True)
class HasType:
    """The value at the path has one of `types`, MongoDB's aliases. "number" has been replaced by the numeric types."""

    path: Path
    types: frozenset[str]


@dataclass(frozen=True, slots=True)
class MatchesPattern:
    """The value at the path is a string in which `pattern` is found, or that regular expression itself."""

    path: Path
    pattern: Regex[str]


@dataclass(frozen=True, slots=True)
class HasSize:
    """The value at the path is an array of `size` elements."""

    path: Path
    size: int


@dataclass(frozen=True, slots=True)
class HasRemainder:
    """$mod: the number at the path, without its fraction, leaves `remainder` when divided by `divisor`."""

    path: Path
    divisor: int
    remainder: int


@dataclass(frozen=True, slots=True)
class ElemMatch:
    """The value at the path is an array with an object that `filter` matches, or an array, whose names are its indexes."""

    path: Path
    filter: Filter


@dataclass(frozen=True, slots=True)
class ElemMatchValue:
    """The value at the path is an array with an element that `filter`, whose paths are empty, matches."""

    path: Path
    filter: Filter


@dataclass(frozen=True, slots=True)
class All:
    """All members match, each possibly through a different element. Without members, no document does."""

    path: Path
    members: tuple[Compare | MatchesPattern | ElemMatch | ElemMatchValue, ...]


@dataclass(frozen=True, slots=True)
class Expr:
    """$expr: `expression` as it is written, compiled to `node`, which reads the top-level fields `reads`."""

    expression: Any
    node: Node = field(compare=False)
    reads: frozenset[str]


@dataclass(frozen=True, slots=True)
class VariableCondition:
    """The value of `variable` matches `filter`, whose paths are empty."""

    variable: Variable
    filter: Filter


@dataclass(frozen=True, slots=True)
class Related:
    """`relationship` leads to a row that `filter` matches."""

    relationship: str
    filter: Filter


FieldCondition = (
    Compare | In | Exists | HasType | MatchesPattern | HasSize | HasRemainder | ElemMatch | ElemMatchValue | All
)
Filter = And | Or | Nor | Not | Expr | VariableCondition | Related | FieldCondition


def walk(filter: Filter) -> Iterator[Filter]:
    """`filter` and all the filters that it combines by $and, $or, $nor and $not, from the outside in.

    Conditions on something other than the document or row itself are not entered: those on elements of an array
    ($elemMatch, $all), on a variable, and on related rows.
    """
    yield filter
    if isinstance(filter, And | Or | Nor):
        for member in filter.members:
            yield from walk(member)
    elif isinstance(filter, Not):
        yield from walk(filter.member)


def filter_fields(filter: Filter) -> frozenset[str]:
    """The top-level fields of a document that `filter` reads; with `WHOLE_DOCUMENT` when an $expr reads all of it."""
    names: set[str] = set()
    for part in walk(filter):
        if isinstance(part, Expr):
            names |= part.reads
        elif isinstance(part, FieldCondition):
            names.update(part.path[:1])
    return frozenset(names)
