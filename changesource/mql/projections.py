"""Projections: `$project`, the projection of a simple mapping, `$addFields` and `$unset`, compiled to functions.

MongoDB: manual/reference/operator/aggregation/project. A dotted path applies to each object of an array on its way. A
computed field below a value that is not an object replaces that value by an object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from bson import Decimal128

from changesource.mql.bson_types import MISSING, is_truthy
from changesource.mql.budget import Budget
from changesource.mql.errors import MqlError
from changesource.mql.expressions import Node, Scope, compile_expression
from changesource.mql.expressions.compiler import BUDGET, Variables, folding_budget, split_path, weight

Document = Mapping[str, Any]
Project = Callable[[Document, Variables], dict[str, Any]]
Leaf = bool | Node
"""True for an included field, False for an excluded one, a node for a computed one."""

ID = "_id"

STEPS_OF_ELEMENT = 3


@dataclass(slots=True)
class Tree:
    """The leaves of a projection, each under the names of its path, and the steps that each child costs."""

    children: dict[str, Tree | Leaf] = field(default_factory=dict)
    steps: dict[str, int] = field(default_factory=dict)

    def add(self, path: Sequence[str], leaf: Leaf, steps: int) -> None:
        """Adds a leaf. Raises `MqlError` when its path and that of another leaf contain one another."""
        name, *rest = path
        self.steps[name] = self.steps.get(name, 0) + steps
        there = self.children.get(name)
        if not rest:
            if there is not None:
                raise MqlError("Another path is the same, or goes through it. Keep one of them.", (".".join(path),))
            self.children[name] = leaf
            return
        if there is None:
            there = self.children[name] = Tree()
        if not isinstance(there, Tree):
            raise MqlError(f"Another entry is for {name!r} as a whole. Keep one of them.", (".".join(path),))
        there.add(rest, leaf, steps)

    @property
    def has_computed(self) -> bool:
        return any(isinstance(leaf, Node) for leaf in self.leaves())

    def leaves(self) -> Iterator[Leaf]:
        for child in self.children.values():
            if isinstance(child, Tree):
                yield from child.leaves()
            else:
                yield child

    def only(self, names: frozenset[str]) -> Tree:
        """The same tree with the top-level names in `names` only."""
        kept = {name: child for name, child in self.children.items() if name in names}
        return Tree(kept, {name: self.steps.get(name, 1) for name in kept})

    @property
    def weight(self) -> int:
        """The steps that the whole tree costs for one document."""
        return sum(self.steps.values())

    @property
    def repeats_values(self) -> bool:
        """Whether one value of the document can occur in the result several times. Written out, such a result can grow with
        each stage."""
        return any(
            leaf.has_computed if isinstance(leaf, Tree) else isinstance(leaf, Node) and not is_plain(leaf)
            for leaf in self.children.values()
        )


def is_plain(node: Node) -> bool:
    """Whether the node gives only scalars, or values just as they are in the document."""
    return node.never_fails if node.gives is None else node.gives.isdisjoint(("object", "array"))


@dataclass(frozen=True, slots=True)
class Projection:
    """A parsed projection. `reads` maps a top-level name to the top-level fields that the computed fields under it read."""

    kind: Literal["include", "exclude", "add"]
    tree: Tree
    reads: Mapping[str, frozenset[str]]

    def compile(self) -> Project:
        """A function that gives a new document and leaves its argument unchanged."""
        return _COMPILERS[self.kind](self.tree)

    def only(self, names: frozenset[str]) -> Projection:
        """The part of the projection that the fields `names` need."""
        return replace(self, tree=self.tree.only(names))


def parse_projection(specification: object, folding: Budget | None = None) -> Projection:
    """Parses `$project`. For `folding` see `Scope`. Raises `MqlError`."""
    tree, reads = _parse(specification, folding, numbers_select=True)
    leaf_of_id = tree.children.get(ID)
    others = [leaf for name, child in tree.children.items() if name != ID for leaf in _leaves_of(child)]
    if isinstance(leaf_of_id, Tree):
        others += leaf_of_id.leaves()
    excludes = any(leaf is False for leaf in others) or (not others and leaf_of_id is False)
    includes = any(leaf is not False for leaf in others) or isinstance(leaf_of_id, Node)
    if excludes and includes:
        raise MqlError(
            "A projection names either what it keeps or what it leaves out, and only _id can be different. "
            "Take one kind of entries out."
        )
    if excludes:
        if leaf_of_id is True:
            tree.children.pop(ID)
        return Projection("exclude", tree, reads)
    if leaf_of_id is None:
        tree.children[ID] = True
    elif leaf_of_id is False:
        tree.children.pop(ID)
    return Projection("include", tree, reads)


def parse_added_fields(specification: object, folding: Budget | None = None) -> Projection:
    """Parses `$addFields` and `$set`. For `folding` see `Scope`. Raises `MqlError`."""
    tree, reads = _parse(specification, folding, numbers_select=False)
    return Projection("add", tree, reads)


def parse_unset(specification: object) -> Projection:
    """Parses `$unset`: a path or a list of paths. Raises `MqlError`."""
    paths = [specification] if isinstance(specification, str) else specification
    if not isinstance(paths, list | tuple) or not paths or not all(isinstance(path, str) for path in paths):
        raise MqlError("Write the path of a field, or a list of paths.")
    tree = Tree()
    for path in paths:
        tree.add(split_path(path), False, 1)
    return Projection("exclude", tree, {})


def _parse(
    specification: object, folding: Budget | None, *, numbers_select: bool
) -> tuple[Tree, Mapping[str, frozenset[str]]]:
    if not isinstance(specification, Mapping) or not specification:
        raise MqlError("Write an object with at least one field.")
    folding = folding or folding_budget()
    tree = Tree()
    reads: dict[str, set[str]] = {}
    for path, value in _paths(specification, ()):
        scope = Scope(folding=folding)
        try:
            is_selected = numbers_select and isinstance(value, bool | int | float | Decimal128)
            leaf = is_truthy(value) if is_selected else compile_expression(value, scope)
            tree.add(path, leaf, 1 if is_selected else 1 + weight(value))
        except MqlError as error:
            place = ".".join(path)
            raise (error if error.place[:1] == (place,) else error.within(place)) from error
        reads.setdefault(path[0], set()).update(scope.reads)
    return tree, {name: frozenset(names) for name, names in reads.items()}


def _paths(specification: Mapping[str, Any], above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Each path with its value. An object without operators stands for the paths inside it."""
    for key, value in specification.items():
        path = (*above, *split_path(key))
        if not isinstance(value, Mapping) or any(name.startswith("$") for name in value):
            yield path, value
        elif value:
            yield from _paths(value, path)
        else:
            raise MqlError('Write {"$literal": {}} for an empty object.', (".".join(path),))


def _leaves_of(child: Tree | Leaf) -> list[Leaf]:
    return list(child.leaves()) if isinstance(child, Tree) else [child]


# Include


def _compile_include(tree: Tree) -> Project:
    computed = _computed(tree)
    nested = _nested(tree)
    if nested:
        return lambda document, variables: _include_fields(document, tree, document, variables)
    included = frozenset(name for name, child in tree.children.items() if child is True)
    if not computed:
        return lambda document, _: {name: value for name, value in document.items() if name in included}

    def project(document: Document, variables: Variables) -> dict[str, Any]:
        projected = {name: value for name, value in document.items() if name in included}
        name = ""
        try:
            for name, evaluate in computed:
                value = evaluate(document, variables)
                if value is not MISSING:
                    projected[name] = value
        except MqlError as error:
            raise error.within(name) from error
        return projected

    return project


def _computed(tree: Tree) -> list[tuple[str, Callable[..., Any]]]:
    return [(name, child.evaluate) for name, child in tree.children.items() if isinstance(child, Node)]


def _nested(tree: Tree) -> list[tuple[str, Tree]]:
    return [(name, child) for name, child in tree.children.items() if isinstance(child, Tree)]


def _include_fields(value: Document, tree: Tree, root: Document, variables: Variables) -> dict[str, Any]:
    included: dict[str, Any] = {}
    for name, member in value.items():
        child = tree.children.get(name)
        if child is True:
            included[name] = member
        elif isinstance(child, Tree):
            projected = _include_in_value(member, child, root, variables)
            if projected is not MISSING:
                included[name] = projected
    for name, child in tree.children.items():
        if isinstance(child, Node):
            computed = _evaluate(name, child, root, variables)
            if computed is not MISSING:
                included[name] = computed
        elif isinstance(child, Tree) and name not in value and child.has_computed:
            included[name] = _include_fields({}, child, root, variables)
    return included


def _evaluate(name: str, node: Node, root: Document, variables: Variables) -> Any:
    try:
        return node.evaluate(root, variables)
    except MqlError as error:
        raise error.within(name) from error


def _include_in_value(value: Any, tree: Tree, root: Document, variables: Variables) -> Any:
    """What is kept of a value when the projection names fields below it; `MISSING` for a value that can have none."""
    if isinstance(value, Mapping):
        variables[BUDGET].make_fields(len(value))
        return _include_fields(value, tree, root, variables)
    if isinstance(value, list):
        _pay_for_elements(value, tree, variables)
        items = (_include_in_value(item, tree, root, variables) for item in value)
        return [item for item in items if item is not MISSING]
    return _include_fields({}, tree, root, variables) if tree.has_computed else MISSING


def _pay_for_elements(array: list[Any], tree: Tree, variables: Variables) -> None:
    budget: Budget = variables[BUDGET]
    budget.make_elements(len(array))
    budget.spend_steps(len(array) * (STEPS_OF_ELEMENT + tree.weight))


# Exclude


def _compile_exclude(tree: Tree) -> Project:
    if _nested(tree):
        return lambda document, variables: _exclude_fields(document, tree, variables)
    excluded = frozenset(tree.children)
    return lambda document, _: {name: value for name, value in document.items() if name not in excluded}


def _exclude_fields(value: Document, tree: Tree, variables: Variables) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, member in value.items():
        child = tree.children.get(name)
        if child is None:
            kept[name] = member
        elif isinstance(child, Tree):
            kept[name] = _exclude_in_value(member, child, variables)
    return kept


def _exclude_in_value(value: Any, tree: Tree, variables: Variables) -> Any:
    if isinstance(value, Mapping):
        variables[BUDGET].make_fields(len(value))
        return _exclude_fields(value, tree, variables)
    if isinstance(value, list):
        _pay_for_elements(value, tree, variables)
        return [_exclude_in_value(item, tree, variables) for item in value]
    return value


# Add


def _compile_add(tree: Tree) -> Project:
    if _nested(tree):
        return lambda document, variables: _add_fields(document, tree, document, variables)
    computed = _computed(tree)

    def add(document: Document, variables: Variables) -> dict[str, Any]:
        added = dict(document)
        name = ""
        try:
            for name, evaluate in computed:
                _set(added, name, evaluate(document, variables))
        except MqlError as error:
            raise error.within(name) from error
        return added

    return add


def _set(fields: dict[str, Any], name: str, value: Any) -> None:
    """Sets a field. A missing value removes it, as with `$$REMOVE`."""
    if value is MISSING:
        fields.pop(name, None)
    else:
        fields[name] = value


def _add_fields(value: Document, tree: Tree, root: Document, variables: Variables) -> dict[str, Any]:
    added = dict(value)
    for name, child in tree.children.items():
        if isinstance(child, Node):
            _set(added, name, _evaluate(name, child, root, variables))
        elif isinstance(child, Tree):
            added[name] = _add_in_value(added.get(name, MISSING), child, root, variables)
    return added


def _add_in_value(value: Any, tree: Tree, root: Document, variables: Variables) -> Any:
    if isinstance(value, Mapping):
        variables[BUDGET].make_fields(len(value))
        return _add_fields(value, tree, root, variables)
    if isinstance(value, list):
        _pay_for_elements(value, tree, variables)
        return [_add_in_value(item, tree, root, variables) for item in value]
    return _add_fields({}, tree, root, variables)


_COMPILERS: Mapping[str, Callable[[Tree], Project]] = {
    "include": _compile_include,
    "exclude": _compile_exclude,
    "add": _compile_add,
}
