"""stages.py: each stage on its own. Expected values: MongoDB's manual, reference/operator/aggregation."""

from typing import Any

import pytest
from bson import Int64

from changesource.mql.budget import Budget
from changesource.mql.errors import MappingError
from changesource.mql.stages import NEVER_THERE, REFUSED_STAGES, STAGES, Shape, parse_stage


def run(stage: dict[str, Any], *documents: dict[str, Any]) -> list[Any]:
    return parse_stage(stage).run(list(documents), Budget())


def unwind(document: dict[str, Any], path: str = "$a", **options: Any) -> list[Any]:
    return run({"$unwind": {"path": path, **options}}, document)


# $unwind


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"a": [1, 2], "b": 3}, [{"a": 1, "b": 3}, {"a": 2, "b": 3}]),
        ({"a": [[1, 2], None]}, [{"a": [1, 2]}, {"a": None}]),
        ({"a": 5}, [{"a": 5}]),
        ({"a": {"x": 1}}, [{"a": {"x": 1}}]),
        ({"a": []}, []),
        ({"a": None}, []),
        ({"b": 3}, []),
    ],
)
def test_unwind(document: Any, expected: Any) -> None:
    """A document for each element; what is no array counts as one element, and nothing as none."""
    assert unwind(document) == run({"$unwind": "$a"}, document) == expected


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"a": []}, [{}]),
        ({"a": None, "b": 3}, [{"a": None, "b": 3}]),
        ({"b": 3}, [{"b": 3}]),
        ({"a": [1]}, [{"a": 1}]),
    ],
)
def test_unwind_that_preserves(document: Any, expected: Any) -> None:
    """A document without elements stays, without an empty array."""
    assert unwind(document, preserveNullAndEmptyArrays=True) == expected


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"a": ["x", "y"]}, [{"a": "x", "i": 0}, {"a": "y", "i": 1}]),
        ({"a": ["x"], "i": "old"}, [{"a": "x", "i": 0}]),
        ({"a": 5}, [{"a": 5, "i": None}]),
        ({"a": []}, [{"i": None}]),
        ({}, [{"i": None}]),
    ],
)
def test_index(document: Any, expected: Any) -> None:
    """A long; null where there is no array with an element."""
    found = unwind(document, includeArrayIndex="i", preserveNullAndEmptyArrays=True)
    assert found == expected
    assert all(type(item["i"]) in (Int64, type(None)) for item in found)


def test_index_in_an_object() -> None:
    """Which is made where there is none."""
    assert unwind({"a": [1], "b": {"x": 1}}, includeArrayIndex="b.i") == [{"a": 1, "b": {"x": 1, "i": 0}}]
    assert unwind({"a": [1], "b": 5}, includeArrayIndex="b.i") == [{"a": 1, "b": {"i": 0}}]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"a": {"b": [1, 2], "c": 3}}, [{"a": {"b": 1, "c": 3}}, {"a": {"b": 2, "c": 3}}]),
        ({"a": [{"b": [1, 2]}]}, []),
        ({"a": {"c": 3}}, []),
        ({"a": 5}, []),
    ],
)
def test_unwind_of_a_nested_array(document: Any, expected: Any) -> None:
    """Through objects only: an array on the way has no such field."""
    assert unwind(document, "$a.b") == expected


def test_unwind_leaves_the_document_as_it_is() -> None:
    """Nested objects too."""
    document = {"a": {"b": [1, 2]}}
    unwind(document, "$a.b", includeArrayIndex="a.i")
    assert document == {"a": {"b": [1, 2]}}


def test_large_array() -> None:
    """A hundred thousand elements are as many documents, in a time that grows with their number only."""
    assert len(unwind({"a": list(range(100_000))}, includeArrayIndex="i")) == 100_000


@pytest.mark.parametrize(
    "specification",
    [
        "a", "$", "$a.", 5, {}, {"path": "a"}, {"path": 5}, {"path": "$a", "other": 1},
        {"path": "$a", "includeArrayIndex": ""},
        {"path": "$a", "includeArrayIndex": "$i"}, {"path": "$a", "includeArrayIndex": 5},
        {"path": "$a", "preserveNullAndEmptyArrays": 1}, {"path": "$$ROOT"}, {"path": "$a", "includeArrayIndex": "a"},
    ],
)  # fmt: skip
def test_what_cannot_be_unwound(specification: Any) -> None:
    """Is refused."""
    with pytest.raises(MappingError) as refused:
        parse_stage({"$unwind": specification})
    assert refused.value.place[0] == "$unwind"


# $replaceRoot, $replaceWith


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("$a", {"x": 1}),
        ({"b": "$a.x", "c": "$nowhere"}, {"b": 1}),
        ({"$mergeObjects": ["$$ROOT", "$a"]}, {"_id": 1, "a": {"x": 1}, "x": 1}),
        ("$$ROOT", {"_id": 1, "a": {"x": 1}}),
    ],
)
def test_new_root(expression: Any, expected: Any) -> None:
    """Both stages are the same."""
    document = {"_id": 1, "a": {"x": 1}}
    assert run({"$replaceWith": expression}, document) == [expected]
    assert run({"$replaceRoot": {"newRoot": expression}}, document) == [expected]


@pytest.mark.parametrize("value", [5, None, "text", [{}]])
def test_new_root_that_is_no_object(value: Any) -> None:
    """Is an error of the document, which names the type."""
    with pytest.raises(MappingError, match="has to be an object"):
        run({"$replaceWith": "$a"}, {"a": value})


def test_missing_new_root() -> None:
    """Is one, too."""
    with pytest.raises(MappingError, match="missing"):
        run({"$replaceWith": "$a"}, {})


@pytest.mark.parametrize("expression", [5, "text", ["$a"], {"$toString": "$a"}, {"$literal": None}, {"$nope": 1}])
def test_what_is_never_a_new_root(expression: Any) -> None:
    """Is refused at once."""
    with pytest.raises(MappingError):
        parse_stage({"$replaceWith": expression})


@pytest.mark.parametrize("specification", [5, {}, {"newRoot": "$a", "more": 1}, "$a"])
def test_what_is_no_replace_root(specification: Any) -> None:
    """Is refused."""
    with pytest.raises(MappingError):
        parse_stage({"$replaceRoot": specification})


# The others, and all


def test_match() -> None:
    """Documents stay in order."""
    assert run({"$match": {"a": {"$gte": 2}}}, {"a": 3}, {"a": 1}, {"a": 2}) == [{"a": 3}, {"a": 2}]


@pytest.mark.parametrize("name", ["$addFields", "$set"])
def test_added_fields(name: str) -> None:
    """Have two names."""
    assert run({name: {"b": "$a"}}, {"a": 1}) == [{"a": 1, "b": 1}]


def test_other_projections() -> None:
    """Work on every document."""
    assert run({"$project": {"a": 1, "_id": 0}}, {"_id": 1, "a": 1}, {"_id": 2}) == [{"a": 1}, {}]
    assert run({"$unset": "a"}, {"_id": 1, "a": 1}) == [{"_id": 1}]


@pytest.mark.parametrize("name", REFUSED_STAGES)
def test_refused_stages(name: str) -> None:
    """Say why, and are none of those that there are."""
    assert name not in STAGES
    with pytest.raises(MappingError, match="refused: it"):
        parse_stage({name: {}})


@pytest.mark.parametrize("stage", [{}, 5, "$match", {"$match": {}, "$unset": "a"}, {"match": {}}, {"$nope": 1}])
def test_what_is_no_stage(stage: Any) -> None:
    """Is refused."""
    with pytest.raises(MappingError):
        parse_stage(stage)


def test_splits() -> None:
    """Only $unwind makes several documents of one."""
    assert parse_stage({"$unwind": "$a"}).splits
    for stage in ({"$match": {}}, {"$project": {"a": 1}}, {"$set": {"a": 1}}, {"$unset": "a"}, {"$replaceWith": "$a"}):
        assert not parse_stage(stage).splits


# Shapes

STRING = frozenset({"string"})


@pytest.mark.parametrize(
    ("stage", "types"),
    [
        ({"$match": {"a": 1}}, {"known": STRING, "other": None}),
        ({"$project": {"a": 1}}, {"a": None, "known": NEVER_THERE, "_id": None}),
        ({"$project": {"known": 1, "_id": 0}}, {"known": STRING, "_id": NEVER_THERE}),
        ({"$project": {"a": "$known", "b": {"$literal": 5}}}, {"a": None, "b": frozenset({"int"})}),
        ({"$project": {"known": 0}}, {"known": NEVER_THERE, "a": None}),
        ({"$project": {"known.x": 0}}, {"known": None}),
        (
            {"$set": {"a": {"$toString": "$b"}, "b.c": 1}},
            {"a": frozenset({"string", "null"}), "b": None, "known": STRING},
        ),
        ({"$unset": ["known", "a.b"]}, {"known": NEVER_THERE, "a": None}),
        ({"$unwind": "$known"}, {"known": None}),
        (
            {"$unwind": {"path": "$a", "includeArrayIndex": "i"}},
            {"a": None, "i": frozenset({"long", "null"}), "known": STRING},
        ),
        ({"$unwind": {"path": "$a", "includeArrayIndex": "known.i"}}, {"known": None}),
        ({"$replaceWith": {"a": "text"}}, {"a": STRING, "known": NEVER_THERE}),
        ({"$replaceWith": "$a"}, {"known": None}),
    ],
)
def test_shape(stage: dict[str, Any], types: dict[str, Any]) -> None:
    """What is known of the fields behind the stage, where one was known before it."""
    shape = parse_stage(stage).shape(Shape({"known": STRING}))
    assert {name: shape.types(name) for name in types} == types
