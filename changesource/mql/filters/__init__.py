"""MongoDB's query language: parsed once, compiled to a predicate, and called for each document."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from changesource.mql.budget import Budget
from changesource.mql.filters.predicate import compile_predicate, filter_weight
from changesource.mql.filters.syntax import parse_filter
from changesource.mql.filters.tree import Filter, filter_fields
from changesource.mql.nesting import check_nesting

__all__ = ["Filter", "compile_filter", "compile_predicate", "filter_fields", "filter_weight", "parse_filter"]


def compile_filter(filter: object) -> Callable[[Mapping[str, Any] | None], bool]:
    """A predicate that says whether `find(filter)` would find a document. It is false for None, which stands for no document.

    Raises `MqlError` with the place in the filter. So does the predicate for a document that cannot be matched, or only
    with more work than one document may cost.
    """
    check_nesting(filter)
    matches = compile_predicate(parse_filter(filter))
    return lambda document: document is not None and matches(document, Budget())
