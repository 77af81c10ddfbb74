"""The parsed form of a filter, from which every back end is made: a predicate, a MongoDB query, Zero's condition.

A path is the names between the dots of a field's path. Inside `ElemMatchValue` it is empty: the condition is about the
element itself. Values are BSON's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from bson import Regex

from changesource.mql.expressions import Node

Path = tuple[str, ...]
ComparisonOperator = Literal["$eq", "$gt", "$gte", "$lt", "$lte"]


@dataclass(frozen=True, slots=True)
class Variable:
    """A value that is known when the filter is used, not when it is written: `$auth.<path>`."""

    namespace: str
    path: Path

    def __str__(self) -> str:
        return ".".join((f"${self.namespace}", *self.path))


@dataclass(frozen=True, slots=True)
class And:
    """All members match; without members, every document does."""

    members: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Or:
    members: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Nor:
    members: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """$not, and what $ne, $nin and `$exists: false` stand for."""

    member: Filter


@dataclass(frozen=True, slots=True)
class Compare:
    """`value` may be a `Variable`."""

    path: Path
    operator: ComparisonOperator
    value: Any


@dataclass(frozen=True, slots=True)
class In:
    """The value is one of `values`, or a string that one of `patterns` matches. A `Variable` stands for all the values."""

    path: Path
    values: tuple[Any, ...] | Variable
    patterns: tuple[Regex[str], ...]


@dataclass(frozen=True, slots=True)
class Exists:
    path: Path


@dataclass(frozen=True, slots=True)
class HasType:
    """`types` are MongoDB's aliases; "number" is spelled out."""

    path: Path
    types: frozenset[str]


@dataclass(frozen=True, slots=True)
class MatchesPattern:
    """A string in which `pattern` is found, or that very regular expression."""

    path: Path
    pattern: Regex[str]


@dataclass(frozen=True, slots=True)
class HasSize:
    path: Path
    size: int


@dataclass(frozen=True, slots=True)
class HasRemainder:
    """$mod: the number, without its fraction, leaves `remainder`."""

    path: Path
    divisor: int
    remainder: int


@dataclass(frozen=True, slots=True)
class ElemMatch:
    """An array with an object (or array, whose keys are its indexes) that `filter` matches."""

    path: Path
    filter: Filter


@dataclass(frozen=True, slots=True)
class ElemMatchValue:
    """An array with an element that `filter`, whose paths are empty, matches."""

    path: Path
    filter: Filter


@dataclass(frozen=True, slots=True)
class All:
    """All members match, each perhaps through another element; without members, no document does."""

    path: Path
    members: tuple[Compare | MatchesPattern | ElemMatch | ElemMatchValue, ...]


@dataclass(frozen=True, slots=True)
class Expr:
    """$expr: `expression` as it was written, compiled as `node`, which reads the top-level fields `reads`."""

    expression: Any
    node: Node = field(compare=False)
    reads: frozenset[str]


@dataclass(frozen=True, slots=True)
class VariableCondition:
    """`filter`, whose paths are empty, is about the value of `variable`."""

    variable: Variable
    filter: Filter


@dataclass(frozen=True, slots=True)
class Related:
    """There is a row that `relationship` leads to, and that `filter` matches."""

    relationship: str
    filter: Filter


FieldCondition = (
    Compare | In | Exists | HasType | MatchesPattern | HasSize | HasRemainder | ElemMatch | ElemMatchValue | All
)
Filter = And | Or | Nor | Not | Expr | VariableCondition | Related | FieldCondition


def fields(filter: Filter) -> frozenset[str]:
    """The top-level fields of a document that `filter` reads, `WHOLE_DOCUMENT` among them when an $expr reads all."""
    if isinstance(filter, And | Or | Nor):
        return frozenset().union(*map(fields, filter.members))
    if isinstance(filter, Not):
        return fields(filter.member)
    if isinstance(filter, Expr):
        return filter.reads
    if isinstance(filter, VariableCondition | Related):
        return frozenset()
    return frozenset(filter.path[:1])
