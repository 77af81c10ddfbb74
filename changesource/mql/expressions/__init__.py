"""MongoDB's aggregation expressions, compiled to functions once and called for each document.

`compiler` holds the language and the registry; each of the other modules registers the operators of one kind.
"""

from changesource.mql.expressions import (
    arithmetic,
    arrays,
    comparisons,
    conditions,
    conversions,
    dates,
    objects,
    strings,
)
from changesource.mql.expressions.compiler import WHOLE_DOCUMENT, Node, Scope, compile_expression

__all__ = [
    "WHOLE_DOCUMENT",
    "Node",
    "Scope",
    "arithmetic",
    "arrays",
    "comparisons",
    "compile_expression",
    "conditions",
    "conversions",
    "dates",
    "objects",
    "strings",
]
