"""stages.py: each stage on its own. Expected values: MongoDB's manual, reference/operator/aggregation."""

from typing import Any

import pytest
from bson import Int64

from changesource.mql.budget import Budget
from changesource.mql.errors import MqlError
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
def test_unwind_gives_a_document_for_each_element(document: Any, expected: Any) -> None:
    """A value that is not an array counts as one element, a missing one as none."""
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
def test_unwind_can_preserve_a_document_without_elements(document: Any, expected: Any) -> None:
    """Without its empty array."""
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
def test_the_index_of_an_element_is_a_long(document: Any, expected: Any) -> None:
    """It is null where there is no array with an element."""
    found = unwind(document, includeArrayIndex="i", preserveNullAndEmptyArrays=True)
    assert found == expected
    assert all(type(item["i"]) in (Int64, type(None)) for item in found)


def test_the_index_can_go_into_an_object() -> None:
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
def test_unwind_finds_a_nested_array_through_objects_only(document: Any, expected: Any) -> None:
    """An array on the way has no such field."""
    assert unwind(document, "$a.b") == expected


def test_unwind_does_not_change_the_document() -> None:
    """Nor objects inside it."""
    document = {"a": {"b": [1, 2]}}
    unwind(document, "$a.b", includeArrayIndex="a.i")
    assert document == {"a": {"b": [1, 2]}}


def test_unwinding_takes_time_in_proportion_to_the_array() -> None:
    """A hundred thousand elements are as many documents."""
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
def test_a_wrong_unwind_is_refused(specification: Any) -> None:
    """Is refused."""
    with pytest.raises(MqlError) as refused:
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
def test_both_stages_replace_the_root(expression: Any, expected: Any) -> None:
    """Both stages are the same."""
    document = {"_id": 1, "a": {"x": 1}}
    assert run({"$replaceWith": expression}, document) == [expected]
    assert run({"$replaceRoot": {"newRoot": expression}}, document) == [expected]


@pytest.mark.parametrize("value", [5, None, "text", [{}]])
def test_a_new_root_that_is_not_an_object_is_an_error(value: Any) -> None:
    """It is an error of the document, and names the type."""
    with pytest.raises(MqlError, match="has to be an object"):
        run({"$replaceWith": "$a"}, {"a": value})


def test_a_missing_new_root_is_an_error() -> None:
    """Is one, too."""
    with pytest.raises(MqlError, match="missing"):
        run({"$replaceWith": "$a"}, {})


@pytest.mark.parametrize("expression", [5, "text", ["$a"], {"$toString": "$a"}, {"$literal": None}, {"$nope": 1}])
def test_what_is_never_an_object_is_refused_as_a_new_root(expression: Any) -> None:
    """When it is compiled."""
    with pytest.raises(MqlError):
        parse_stage({"$replaceWith": expression})


@pytest.mark.parametrize("specification", [5, {}, {"newRoot": "$a", "more": 1}, "$a"])
def test_a_wrong_replace_root_is_refused(specification: Any) -> None:
    """Is refused."""
    with pytest.raises(MqlError):
        parse_stage({"$replaceRoot": specification})


# The others, and all


def test_match_keeps_documents_in_order() -> None:
    """Documents stay in order."""
    assert run({"$match": {"a": {"$gte": 2}}}, {"a": 3}, {"a": 1}, {"a": 2}) == [{"a": 3}, {"a": 2}]


@pytest.mark.parametrize("name", ["$addFields", "$set"])
def test_add_fields_and_set_are_the_same(name: str) -> None:
    """Have two names."""
    assert run({name: {"b": "$a"}}, {"a": 1}) == [{"a": 1, "b": 1}]


def test_projections_apply_to_every_document() -> None:
    """Work on every document."""
    assert run({"$project": {"a": 1, "_id": 0}}, {"_id": 1, "a": 1}, {"_id": 2}) == [{"a": 1}, {}]
    assert run({"$unset": "a"}, {"_id": 1, "a": 1}) == [{"_id": 1}]


@pytest.mark.parametrize("name", REFUSED_STAGES)
def test_a_refused_stage_says_why(name: str) -> None:
    """And is none of those that exist."""
    assert name not in STAGES
    with pytest.raises(MqlError, match="refused: it"):
        parse_stage({name: {}})


@pytest.mark.parametrize("stage", [{}, 5, "$match", {"$match": {}, "$unset": "a"}, {"match": {}}, {"$nope": 1}])
def test_what_is_not_a_stage_is_refused(stage: Any) -> None:
    """Is refused."""
    with pytest.raises(MqlError):
        parse_stage(stage)


def test_only_unwind_makes_several_documents_of_one() -> None:
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
def test_a_stage_says_what_is_known_of_its_output(stage: dict[str, Any], types: dict[str, Any]) -> None:
    """When something is known of its input."""
    shape = parse_stage(stage).shape(Shape({"known": STRING}))
    assert {name: shape.types(name) for name in types} == types
