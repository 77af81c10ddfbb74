"""MongoDB's query language: parsed once, compiled to a predicate, and called for each document."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from changesource.mql.budget import Budget
from changesource.mql.expressions import Scope
from changesource.mql.filters.predicate import compile_predicate, filter_weight
from changesource.mql.filters.syntax import parse_filter
from changesource.mql.filters.tree import Filter, fields
from changesource.mql.nesting import check_nesting

__all__ = ["Filter", "compile_filter", "compile_predicate", "fields", "filter_weight", "parse_filter"]


def compile_filter(filter: object) -> Callable[[Mapping[str, Any] | None], bool]:
    """Whether a document matches what stands in `find(filter)`. No document (None) never does.

    Raises `MappingError` with its place in the filter; so does the predicate for a document that cannot be matched, or only
    with more work than a document may take.
    """
    check_nesting(filter)
    matches = compile_predicate(parse_filter(filter, Scope()))
    return lambda document: document is not None and matches(document, Budget())
