"""nesting.py: how deep mappings may be."""

from typing import Any

import pytest

from changesource.mql import MappingError, compile_filter, compile_mapping
from changesource.mql.nesting import MAX_DEPTH, check_nesting


def nested(depth: int, *, in_lists: bool) -> Any:
    """`depth` objects or lists inside each other."""
    value: Any = 1
    for _ in range(depth):
        value = [value] if in_lists else {"a": value}
    return value


@pytest.mark.parametrize("in_lists", [True, False])
def test_limit(in_lists: bool) -> None:
    """As deep as MongoDB stores, and no deeper."""
    check_nesting(nested(MAX_DEPTH, in_lists=in_lists))
    with pytest.raises(MappingError, match="nested"):
        check_nesting(nested(MAX_DEPTH + 1, in_lists=in_lists))


def test_deepest_branch_counts() -> None:
    """However many others are flat."""
    with pytest.raises(MappingError):
        check_nesting({"a": 1, "b": [1, 2, nested(MAX_DEPTH, in_lists=False)]})


def test_what_is_no_mapping_is_flat() -> None:
    """Values have no depth."""
    check_nesting(5)
    check_nesting("text")


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 5_000, 100_000])
def test_depth_never_ends_the_process(depth: int) -> None:
    """It is refused before anything goes down into it."""
    with pytest.raises(MappingError):
        compile_filter({"$and": nested(depth, in_lists=True)})
    with pytest.raises(MappingError):
        compile_mapping({"projection": {"a": nested(depth, in_lists=True)}})
    with pytest.raises(MappingError):
        compile_mapping({"filter": nested(depth, in_lists=False)})


def test_deepest_mapping_that_is_allowed_compiles() -> None:
    """And is computed for a document, in the stack that Python has."""
    expression: Any = "$a"
    for _ in range(MAX_DEPTH // 2 - 2):
        expression = {"$add": [expression, 1]}
    assert compile_mapping({"projection": {"a": expression}})({"a": 1})[0]["a"] == 1 + MAX_DEPTH // 2 - 2
