"""nesting.py: how deep mappings may be."""

from typing import Any

import pytest

from changesource.mql import MqlError, compile_filter, compile_pipeline
from changesource.mql.nesting import MAX_DEPTH, check_nesting


def nested(depth: int, *, in_lists: bool) -> Any:
    """`depth` objects or lists inside each other."""
    value: Any = 1
    for _ in range(depth):
        value = [value] if in_lists else {"a": value}
    return value


@pytest.mark.parametrize("in_lists", [True, False])
def test_the_limit_is_the_depth_that_mongodb_stores(in_lists: bool) -> None:
    """As deep as MongoDB stores, and no deeper."""
    check_nesting(nested(MAX_DEPTH, in_lists=in_lists))
    with pytest.raises(MqlError, match="nested"):
        check_nesting(nested(MAX_DEPTH + 1, in_lists=in_lists))


def test_the_deepest_branch_counts() -> None:
    """However many others are flat."""
    with pytest.raises(MqlError):
        check_nesting({"a": 1, "b": [1, 2, nested(MAX_DEPTH, in_lists=False)]})


def test_a_scalar_has_no_depth() -> None:
    """Values have no depth."""
    check_nesting(5)
    check_nesting("text")


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 5_000, 100_000])
def test_depth_never_ends_the_process(depth: int) -> None:
    """What is too deep is refused before any recursion."""
    with pytest.raises(MqlError):
        compile_filter({"$and": nested(depth, in_lists=True)})
    with pytest.raises(MqlError):
        compile_pipeline({"projection": {"a": nested(depth, in_lists=True)}})
    with pytest.raises(MqlError):
        compile_pipeline({"filter": nested(depth, in_lists=False)})


def test_the_deepest_mapping_compiles() -> None:
    """And is computed for a document, in the stack that Python has."""
    expression: Any = "$a"
    for _ in range(MAX_DEPTH // 2 - 2):
        expression = {"$add": [expression, 1]}
    assert compile_pipeline({"projection": {"a": expression}})({"a": 1})[0]["a"] == 1 + MAX_DEPTH // 2 - 2
