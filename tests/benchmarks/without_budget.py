"""Tables and the language of their mappings without the budget of a document, to be measured beside them.

Their modules are loaded a second time, and everything that they pay is left out of their source on the way.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType
from typing import Any

from changesource.mql.budget import Budget
from changesource.tables.definition import Table

ROOMS = ("changesource.mql", "changesource.tables")
BUDGET = Budget.__module__
PAYING = frozenset(name for name in vars(Budget) if name.startswith(("spend_", "make_", "copy_", "read_", "write_")))


def table_without_budget(table: Table) -> Any:
    """A `CompiledTable` of `table`, of the class that pays nothing."""
    with _loaded_without_budget() as tables:
        budget = Budget()
        tables.Budget = lambda: budget
        return tables.CompiledTable(table)


@contextmanager
def _loaded_without_budget() -> Iterator[Any]:
    loaded = {name: module for name, module in sys.modules.items() if _is_in_rooms(name)}
    for name in loaded:
        del sys.modules[name]
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield import_module("changesource.tables.compiled_table")
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if _is_in_rooms(name)]:
            del sys.modules[name]
        sys.modules.update(loaded)


def _is_in_rooms(name: str) -> bool:
    return any(name == room or name.startswith(f"{room}.") for room in ROOMS)


class _Finder(MetaPathFinder):
    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if _is_in_rooms(name) and name not in (*ROOMS, BUDGET):
            spec = PathFinder.find_spec(name, path, target)
            if spec is not None and isinstance(spec.loader, SourceFileLoader):
                spec.loader = _Loader(spec.loader.name, spec.loader.path)
            return spec
        return None


class _Loader(SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType:
        source = self.get_source(fullname)
        assert source is not None
        return compile(_WithoutPayments().visit(ast.parse(source)), self.path, "exec", dont_inherit=True)


class _WithoutPayments(ast.NodeTransformer):
    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        call = node.value
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in PAYING:
            return ast.copy_location(ast.Pass(), node)
        return node
