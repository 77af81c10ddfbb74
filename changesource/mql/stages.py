"""The stages of a pipeline. Each turns documents into documents, and says what it needs to know of them.

Only stages that work on one document at a time are supported, so that a change to one document changes the rows of that
document and no others. Every other stage is refused with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from bson import Int64

from changesource.mql.bson_types import MISSING, type_name
from changesource.mql.budget import FIELDS_PER_STEP, REFERENCE_BYTES, Budget
from changesource.mql.errors import MqlError
from changesource.mql.expressions import WHOLE_DOCUMENT, Scope, compile_expression
from changesource.mql.expressions.compiler import (
    Evaluate,
    Types,
    Variables,
    compile_within,
    folding_budget,
    split_path,
    variables_with,
    weight,
)
from changesource.mql.filters import compile_predicate, filter_fields, filter_weight, parse_filter
from changesource.mql.projections import (
    Document,
    Projection,
    Tree,
    is_plain,
    parse_added_fields,
    parse_projection,
    parse_unset,
)

Documents = list[Document]
Names = frozenset[str]
"""Names of top-level fields. `WHOLE_DOCUMENT` among them stands for all fields."""

DOCUMENT_BYTES = 128
"""For one document that $unwind gives, without its fields."""
STEPS_OF_UNWINDING = 3

EVERYTHING: Names = frozenset({WHOLE_DOCUMENT})


@dataclass(frozen=True, slots=True)
class Shape:
    """What is known of the top-level fields of documents: the BSON types that each can have (None for any).

    If the shape is open, a document can have fields that are not named here, with any type.
    """

    fields: Mapping[str, Types] = field(default_factory=dict)
    is_open: bool = True

    def types(self, name: str) -> Types:
        """The types of a field; only "missing" for one that no document has."""
        if name in self.fields:
            return self.fields[name]
        return None if self.is_open else NEVER_THERE

    def has(self, name: str) -> bool:
        """Whether a document can have the field."""
        return self.types(name) != NEVER_THERE

    def with_field(self, name: str, types: Types) -> Shape:
        return replace(self, fields={**self.fields, name: types})


NEVER_THERE: Types = frozenset({"missing"})


class Stage(Protocol):
    """One stage.

    `splits` says whether it can make several documents out of one; `repeats_values`, whether one value of the document can
    occur in the result several times. `steps` is the cost of each document that `run` does not pay itself.
    """

    splits: bool
    repeats_values: bool
    steps: int

    def run(self, documents: Documents, budget: Budget) -> Documents:
        """What the stage gives for `documents`, in their order. Raises `BudgetExceeded`, and `MqlError` for a document that
        it cannot process."""

    def slice(self, needed: Names) -> tuple[Stage | None, Names]:
        """The part of the stage that the fields `needed` of its output depend on (None when they depend on none of it), and
        the fields of its input that this part needs."""

    def shape(self, shape: Shape) -> Shape:
        """What is known of the output when the input has this `shape`."""


# $match


class Match:
    splits = False
    repeats_values = False

    def __init__(self, specification: object, folding: Budget) -> None:
        parsed = parse_filter(specification, Scope(folding=folding))
        self._matches = compile_predicate(parsed)
        self.steps = 1 + filter_weight(parsed)
        self.fields: Names = filter_fields(parsed)

    def run(self, documents: Documents, budget: Budget) -> Documents:
        matches = self._matches
        return [document for document in documents if matches(document, budget)]

    def slice(self, needed: Names) -> tuple[Stage | None, Names]:
        return self, needed | self.fields

    def shape(self, shape: Shape) -> Shape:
        return shape


# $project, $addFields, $set, $unset


class Project:
    """$project and the stages like it: each document goes through a projection."""

    splits = False

    def __init__(self, projection: Projection) -> None:
        self.projection = projection
        self.repeats_values = projection.tree.repeats_values
        self._project = projection.compile()
        self.steps = 1 + projection.tree.weight

    def run(self, documents: Documents, budget: Budget) -> Documents:
        if len(documents) > 1:
            _pay_for_fields(documents, budget)
        project, variables = self._project, variables_with(budget)
        return [project(document, variables) for document in documents]

    def slice(self, needed: Names) -> tuple[Stage | None, Names]:
        if WHOLE_DOCUMENT in needed:
            return self, self._needed_for_everything()
        projection = self.projection.only(needed)
        children = projection.tree.children
        sources: set[str] = set()
        for name in needed:
            child = children.get(name)
            passes = child is None if projection.kind != "include" else child is True
            if passes or isinstance(child, Tree):
                sources.add(name)
            sources |= projection.reads.get(name, frozenset())
        if not children and projection.kind != "include":
            return None, frozenset(sources)
        return Project(projection), frozenset(sources)

    def _needed_for_everything(self) -> Names:
        if self.projection.kind != "include":
            return EVERYTHING
        selected = {name for name, child in self.projection.tree.children.items() if child is True or _is_tree(child)}
        return frozenset(selected.union(*self.projection.reads.values()))

    def shape(self, shape: Shape) -> Shape:
        kind, children = self.projection.kind, self.projection.tree.children
        result = Shape({}, is_open=False) if kind == "include" else shape
        for name, child in children.items():
            if isinstance(child, Tree):
                result = result.with_field(name, None)
            elif child is True:
                result = result.with_field(name, shape.types(name))
            elif child is False:
                result = result.with_field(name, NEVER_THERE)
            else:
                result = result.with_field(name, child.gives)
        return result


def _pay_for_fields(documents: Documents, budget: Budget) -> None:
    """Pays for the fields of documents into which one was unwound, which are copied for each of them."""
    fields = sum(map(len, documents))
    budget.spend_bytes(fields * REFERENCE_BYTES)
    budget.spend_steps(fields // FIELDS_PER_STEP)


def _is_tree(child: object) -> bool:
    return isinstance(child, Tree)


# $unwind


class Unwind:
    """$unwind (MongoDB: manual/reference/operator/aggregation/unwind). A value that is not an array counts as an array of
    just that value."""

    splits = True
    repeats_values = False
    steps = STEPS_OF_UNWINDING

    def __init__(self, specification: object) -> None:
        options = {"path": specification} if isinstance(specification, str) else specification
        if not isinstance(options, Mapping):
            raise MqlError('Write "$path", or an object with a path.')
        for option in options:
            if option not in ("path", "includeArrayIndex", "preserveNullAndEmptyArrays"):
                raise MqlError("$unwind takes path, includeArrayIndex and preserveNullAndEmptyArrays.", (str(option),))
        self._path = _unwound_path(options.get("path"))
        self._index_path = _index_path(options.get("includeArrayIndex"), self._path)
        self._preserves = options.get("preserveNullAndEmptyArrays", False)
        if not isinstance(self._preserves, bool):
            raise MqlError("Write true or false.", ("preserveNullAndEmptyArrays",))

    def run(self, documents: Documents, budget: Budget) -> Documents:
        values = [_nested_value(document, self._path) for document in documents]
        self._pay(documents, values, budget)
        unwound: Documents = []
        for document, value in zip(documents, values, strict=True):
            self._unwind(document, value, unwound)
        return unwound

    def _pay(self, documents: Documents, values: list[Any], budget: Budget) -> None:
        """Pays for everything that the documents become, before any of it is made."""
        budget.spend_rows(sum(max(0, len(value) - 1) for value in values if isinstance(value, list)))
        for document, value in zip(documents, values, strict=True):
            number = len(value) if isinstance(value, list) else 1
            fields = len(document) + _fields_below(document, self._path)
            budget.spend_bytes(number * (DOCUMENT_BYTES + fields * REFERENCE_BYTES))
            budget.spend_steps(number * (STEPS_OF_UNWINDING + fields // FIELDS_PER_STEP))

    def _unwind(self, document: Document, value: Any, unwound: Documents) -> None:
        if not isinstance(value, list):
            if self._preserves or (value is not None and value is not MISSING):
                unwound.append(self._with_index(document, None))
        elif value:
            unwound += self._elements(document, value)
        elif self._preserves:
            unwound.append(self._with_index(_with_value(document, self._path, MISSING), None))

    def _elements(self, document: Document, array: list[Any]) -> Iterator[Document]:
        path, index_path = self._path, self._index_path
        if len(path) > 1 or (index_path is not None and len(index_path) > 1):
            for index, item in enumerate(array):
                yield self._with_index(_with_value(document, path, item), index)
            return
        (name,) = path
        for index, item in enumerate(array):
            copy = dict(document)
            copy[name] = item
            if index_path is not None:
                copy[index_path[0]] = Int64(index)
            yield copy

    def _with_index(self, document: Document, index: int | None) -> Document:
        if self._index_path is None:
            return document
        return _with_value(document, self._index_path, None if index is None else Int64(index))

    def slice(self, needed: Names) -> tuple[Stage | None, Names]:
        return self, (needed - self._made()) | {self._path[0]}

    def _made(self) -> Names:
        return frozenset({self._index_path[0]} if self._index_path is not None and len(self._index_path) == 1 else ())

    def shape(self, shape: Shape) -> Shape:
        shape = shape.with_field(self._path[0], None)
        if self._index_path is None:
            return shape
        types = frozenset({"long", "null"}) if len(self._index_path) == 1 else None
        return shape.with_field(self._index_path[0], types)


def _unwound_path(path: object) -> tuple[str, ...]:
    if not isinstance(path, str) or not path.startswith("$"):
        raise MqlError('Write the path of an array with a $ in front: "$items".', ("path",))
    return split_path(path[1:])


def _index_path(path: object, unwound: tuple[str, ...]) -> tuple[str, ...] | None:
    if path is None:
        return None
    if not isinstance(path, str) or not path or path.startswith("$"):
        raise MqlError("Write the name of a new field, without a $.", ("includeArrayIndex",))
    names = split_path(path)
    shorter = min(len(names), len(unwound))
    if names[:shorter] == unwound[:shorter]:
        raise MqlError("The index cannot go where the array is. Choose another name.", ("includeArrayIndex",))
    return names


def _nested_value(document: Document, path: tuple[str, ...]) -> Any:
    """The value at `path`, through objects only: `$unwind` does not look for an array inside another."""
    value: Any = document
    for name in path:
        if not isinstance(value, Mapping):
            return MISSING
        value = value.get(name, MISSING)
    return value


def _fields_below(document: Document, path: tuple[str, ...]) -> int:
    """The number of fields of the objects along `path`."""
    number = 0
    value: Any = document
    for name in path[:-1]:
        value = value.get(name)
        if not isinstance(value, Mapping):
            break
        number += len(value)
    return number


def _with_value(document: Document, path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """A copy of the document with another value at `path`; `MISSING` removes the field."""
    copy = dict(document)
    name, *rest = path
    if rest:
        below = copy.get(name)
        copy[name] = _with_value(below if isinstance(below, Mapping) else {}, tuple(rest), value)
    elif value is MISSING:
        copy.pop(name, None)
    else:
        copy[name] = value
    return copy


# $replaceRoot


class ReplaceRoot:
    splits = False

    def __init__(self, specification: object, folding: Budget) -> None:
        if not isinstance(specification, Mapping) or set(specification) != {"newRoot"}:
            raise MqlError("Write an object with newRoot and nothing else.")
        self._set(specification["newRoot"], "newRoot", folding)

    def _set(self, expression: object, step: str, folding: Budget) -> None:
        scope = Scope(folding=folding)
        node = compile_within(step, expression, scope)
        if node.gives is not None and "object" not in node.gives:
            raise MqlError(f"It gives {', '.join(sorted(node.gives))} and never an object.", (step,))
        self._evaluate: Evaluate = node.evaluate
        self._reads = frozenset(scope.reads)
        self._known = _known_fields(expression, folding)
        self.steps = 1 + weight(expression)
        self.repeats_values = not is_plain(node)

    def run(self, documents: Documents, budget: Budget) -> Documents:
        variables = variables_with(budget)
        return [self._new_root(document, variables) for document in documents]

    def _new_root(self, document: Document, variables: Variables) -> Document:
        root = self._evaluate(document, variables)
        if not isinstance(root, Mapping):
            raise MqlError(f"The new root has to be an object; here it is {type_name(root)}.", ("newRoot",))
        return root

    def slice(self, needed: Names) -> tuple[Stage | None, Names]:
        return self, self._reads

    def shape(self, shape: Shape) -> Shape:
        return Shape() if self._known is None else Shape(self._known, is_open=False)


def _known_fields(expression: object, folding: Budget) -> Mapping[str, Types] | None:
    """The types of the fields of an object that is written out; None for every other expression."""
    if not isinstance(expression, Mapping) or any(name.startswith("$") for name in expression):
        return None
    return {name: compile_expression(value, Scope(folding=folding)).gives for name, value in expression.items()}


# All of them


STAGES: Mapping[str, Callable[[object, Budget], Stage]] = {
    "$match": Match,
    "$unwind": lambda specification, _: Unwind(specification),
    "$project": lambda specification, folding: Project(parse_projection(specification, folding)),
    "$addFields": lambda specification, folding: Project(parse_added_fields(specification, folding)),
    "$set": lambda specification, folding: Project(parse_added_fields(specification, folding)),
    "$unset": lambda specification, _: Project(parse_unset(specification)),
    "$replaceRoot": ReplaceRoot,
    "$replaceWith": lambda expression, folding: ReplaceRoot({"newRoot": expression}, folding),
}

_NEEDS_OTHERS = "it needs other documents, and a row may depend on its own document alone"
_WRITES = "it writes, and a source is only read"
_IS_FIRST = "it reads something other than the documents of the collection"

REFUSED_STAGES: Mapping[str, str] = {
    **dict.fromkeys(
        ("$lookup", "$graphLookup", "$unionWith"), _NEEDS_OTHERS + "; publish both and relate them in Zero"
    ),
    **dict.fromkeys(
        ("$group", "$bucket", "$bucketAuto", "$sortByCount", "$count"), _NEEDS_OTHERS + "; aggregate in Zero"
    ),
    **dict.fromkeys(("$sort", "$limit", "$skip"), _NEEDS_OTHERS + "; order and limit in the queries"),
    **dict.fromkeys(("$setWindowFields", "$densify", "$fill", "$facet", "$sample"), _NEEDS_OTHERS),
    **dict.fromkeys(("$out", "$merge"), _WRITES),
    **dict.fromkeys(
        ("$collStats", "$indexStats", "$currentOp", "$listSessions", "$documents", "$changeStream"), _IS_FIRST
    ),
}


def parse_stage(stage: object, folding: Budget | None = None) -> Stage:
    """Parses a stage. For `folding` see `Scope`. Raises `MqlError`, with the name of the stage in its place."""
    if not isinstance(stage, Mapping) or len(stage) != 1:
        raise MqlError("A stage is an object with the name of the stage and nothing else.")
    ((name, specification),) = stage.items()
    if reason := REFUSED_STAGES.get(name):
        raise MqlError(f"{name} is refused: {reason}.")
    if name not in STAGES:
        raise MqlError(f"There is no stage {name!r}. Use {', '.join(STAGES)}.")
    try:
        return STAGES[name](specification, folding or folding_budget())
    except MqlError as error:
        raise error.within(name) from error
