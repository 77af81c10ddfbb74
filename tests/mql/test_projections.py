"""projections.py: what is kept, left out and computed. Expected values: manual/reference/operator/aggregation/project and
addFields, src/mongo/db/exec/projection_node.cpp."""

from typing import Any

import pytest
from bson import Decimal128, Int64

from changesource.mql.budget import Budget
from changesource.mql.errors import MqlError
from changesource.mql.expressions.compiler import variables_with
from changesource.mql.projections import Projection, parse_added_fields, parse_projection, parse_unset


def project(specification: Any, document: dict[str, Any]) -> dict[str, Any]:
    return parse_projection(specification).compile()(document, variables_with(Budget()))


def in_order(document: dict[str, Any]) -> str:
    """Equal only where the order of fields is, too."""
    return repr(document)


NESTED = {"_id": 1, "a": {"x": 1, "y": 2}, "b": [{"x": 1, "y": 2}, 3, [{"x": 4, "y": 5}], {"y": 6}], "c": 7}


@pytest.mark.parametrize(
    ("specification", "expected"),
    [
        ({"c": 1}, {"_id": 1, "c": 7}),
        ({"c": True, "_id": 0}, {"c": 7}),
        ({"c": 2.5, "a": Int64(1)}, {"_id": 1, "a": {"x": 1, "y": 2}, "c": 7}),
        ({"c": Decimal128("1"), "_id": Decimal128("0")}, {"c": 7}),
        ({"nowhere": 1}, {"_id": 1}),
        ({"_id": 1}, {"_id": 1}),
        ({"a.x": 1}, {"_id": 1, "a": {"x": 1}}),
        ({"a": {"x": 1}}, {"_id": 1, "a": {"x": 1}}),
        ({"a.nowhere": 1}, {"_id": 1, "a": {}}),
        ({"b.x": 1}, {"_id": 1, "b": [{"x": 1}, [{"x": 4}], {}]}),
        ({"c.x": 1}, {"_id": 1}),
        ({"nowhere.x": 1}, {"_id": 1}),
        ({"d": "$a.x"}, {"_id": 1, "d": 1}),
        ({"d": "$nowhere"}, {"_id": 1}),
        ({"c": 1, "d": "$c", "e": {"$add": ["$c", 1]}}, {"_id": 1, "c": 7, "d": 7, "e": 8}),
        ({"d": "$c", "c": 1}, {"_id": 1, "c": 7, "d": 7}),
        ({"c": "$a.x", "a": "$c"}, {"_id": 1, "c": 1, "a": 7}),
        ({"_id": "$c"}, {"_id": 7}),
        ({"_id": 0, "d": "$c"}, {"d": 7}),
        ({"a.z": "$c"}, {"_id": 1, "a": {"z": 7}}),
        ({"a.z": "$c", "a.x": 1}, {"_id": 1, "a": {"x": 1, "z": 7}}),
        ({"b.z": "$c"}, {"_id": 1, "b": [{"z": 7}, {"z": 7}, [{"z": 7}], {"z": 7}]}),
        ({"c.z": "$a.x"}, {"_id": 1, "c": {"z": 1}}),
        ({"new.z": "$c"}, {"_id": 1, "new": {"z": 7}}),
        ({"d": ["$c", "$nowhere", 1]}, {"_id": 1, "d": [7, None, 1]}),
        ({"d": {"$literal": 0}}, {"_id": 1, "d": 0}),
        ({"d": "text"}, {"_id": 1, "d": "text"}),
        ({"d": None}, {"_id": 1, "d": None}),
    ],
)
def test_inclusion_keeps_what_is_named(specification: Any, expected: dict[str, Any]) -> None:
    """In its place; computed fields follow. Scalars in arrays are dropped."""
    assert in_order(project(specification, NESTED)) == in_order(expected)


@pytest.mark.parametrize(
    ("specification", "expected"),
    [
        ({"a": 0, "b": False}, {"_id": 1, "c": 7}),
        ({"_id": 0}, {"a": NESTED["a"], "b": NESTED["b"], "c": 7}),
        ({"a": 0, "b": 0, "_id": 1}, {"_id": 1, "c": 7}),
        ({"a": 0, "b": 0, "_id": 0}, {"c": 7}),
        ({"nowhere": 0, "a": 0, "b": 0}, {"_id": 1, "c": 7}),
        ({"a.x": 0, "b": 0}, {"_id": 1, "a": {"y": 2}, "c": 7}),
        ({"b.y": 0, "a": 0}, {"_id": 1, "b": [{"x": 1}, 3, [{"x": 4}], {}], "c": 7}),
        ({"c.x": 0, "a": 0, "b": 0}, {"_id": 1, "c": 7}),
    ],
)
def test_exclusion_keeps_everything_else(specification: Any, expected: dict[str, Any]) -> None:
    """Scalars in arrays too."""
    assert in_order(project(specification, NESTED)) == in_order(expected)


@pytest.mark.parametrize(
    ("specification", "expected"),
    [
        ({"a": "$c", "b": 1}, {"_id": 1, "a": 7, "b": 1, "c": 7}),
        ({"b": 0, "a": 0, "d": False}, {"_id": 1, "a": 0, "b": 0, "c": 7, "d": False}),
        ({"a": "$b.x", "b": "$a.x"}, {"_id": 1, "a": [1], "b": 1, "c": 7}),
        ({"a": "$$REMOVE", "b": "$nowhere"}, {"_id": 1, "c": 7}),
        ({"a.x": "$c", "b": 0}, {"_id": 1, "a": {"x": 7, "y": 2}, "b": 0, "c": 7}),
        ({"a.x": "$$REMOVE", "b": 0}, {"_id": 1, "a": {"y": 2}, "b": 0, "c": 7}),
        ({"a": {"z": "$c"}, "b": 0}, {"_id": 1, "a": {"x": 1, "y": 2, "z": 7}, "b": 0, "c": 7}),
        ({"c.z": 1, "a": 0, "b": 0}, {"_id": 1, "a": 0, "b": 0, "c": {"z": 1}}),
        ({"a": 0, "b": 0, "d.e.f": 1}, {"_id": 1, "a": 0, "b": 0, "c": 7, "d": {"e": {"f": 1}}}),
        (
            {"a": 0, "b.x": 9},
            {"_id": 1, "a": 0, "b": [{"x": 9, "y": 2}, {"x": 9}, [{"x": 9, "y": 5}], {"y": 6, "x": 9}], "c": 7},
        ),
        ({"_id": "$c", "a": 0, "b": 0}, {"_id": 7, "a": 0, "b": 0, "c": 7}),
    ],
)
def test_added_fields_replace_or_follow(specification: Any, expected: dict[str, Any]) -> None:
    """All are computed from the document as it was."""
    assert in_order(parse_added_fields(specification).compile()(NESTED, variables_with(Budget()))) == in_order(expected)


@pytest.mark.parametrize(
    ("specification", "expected"),
    [
        ("a", {"_id": 1, "b": 2, "c": {"x": 1, "y": 2}}),
        (["_id", "b"], {"a": 1, "c": {"x": 1, "y": 2}}),
        (["c.x", "nowhere"], {"_id": 1, "a": 1, "b": 2, "c": {"y": 2}}),
    ],
)
def test_unset_takes_a_path_or_a_list_of_paths(specification: Any, expected: dict[str, Any]) -> None:
    """A path, or some."""
    document = {"_id": 1, "a": 1, "b": 2, "c": {"x": 1, "y": 2}}
    assert parse_unset(specification).compile()(document, variables_with(Budget())) == expected


@pytest.mark.parametrize(
    "specification",
    [
        {},
        5,
        [],
        {"a": 1, "b": 0},
        {"a": 0, "b": "$c"},
        {"a": 0, "_id": "$c"},
        {"a": 1, "a.b": 1},
        {"a.b": 1, "a": 1},
        {"a.b": 1, "a": {"b": 1}},
        {"a": {"b": 1}, "a.b.c": 1},
        {"": 1},
        {"a.": 1},
        {".a": 1},
        {"a..b": 1},
        {"$a": 1},
        {"a.$b": 1},
        {"a": {}},
        {"a": {"b": {}}},
        {"a": {"$nope": 1}},
        {"a": {"$add": [1], "b": 1}},
        {"a": "$"},
        {"a": "$$nope"},
        {"a": "$$NOW"},
        {"a": {"b": {"$divide": [1, 0]}}},
    ],
)
def test_what_is_not_a_projection_is_refused(specification: Any) -> None:
    """Is refused."""
    with pytest.raises(MqlError):
        parse_projection(specification)


@pytest.mark.parametrize("specification", [{}, 5, {"a": 1, "a.b": 1}, {"a": {}}, {"$a": 1}, {"a": {"$nope": 1}}])
def test_what_cannot_be_added_is_refused(specification: Any) -> None:
    """Is refused."""
    with pytest.raises(MqlError):
        parse_added_fields(specification)


@pytest.mark.parametrize("specification", ["", [], 5, {"a": 1}, ["a", 5], ["a", "a.b"], ["a", "a"], "$a", "a..b"])
def test_what_cannot_be_unset_is_refused(specification: Any) -> None:
    """Is refused."""
    with pytest.raises(MqlError):
        parse_unset(specification)


@pytest.mark.parametrize(
    ("specification", "document", "place"),
    [
        ({"n": {"$toInt": "$s"}}, {"s": "x"}, ("n",)),
        ({"a.n": {"$toInt": "$s"}}, {"s": "x"}, ("n",)),
        ({"n": {"$toInt": "$s"}, "a.x": 1}, {"s": "x", "a": {}}, ("n",)),
    ],
)
def test_an_error_of_a_document_names_the_field(
    specification: Any, document: dict[str, Any], place: tuple[str, ...]
) -> None:
    """Say of which field they are."""
    with pytest.raises(MqlError) as failed:
        project(specification, document)
    assert set(place) <= set(failed.value.place)


@pytest.mark.parametrize(
    ("projection", "names", "document", "expected"),
    [
        (parse_projection({"a": 1, "b": "$c"}), {"b"}, {"a": 1, "c": 2}, {"b": 2}),
        (parse_projection({"a": 0, "b": 0}), {"b"}, {"a": 1, "b": 2, "c": 3}, {"a": 1, "c": 3}),
        (parse_added_fields({"a": 1, "b": "$c"}), {"b"}, {"a": 0, "c": 2}, {"a": 0, "c": 2, "b": 2}),
    ],
)
def test_only_keeps_the_entries_of_some_fields(
    projection: Projection, names: set[str], document: dict[str, Any], expected: dict[str, Any]
) -> None:
    """As if there were no others."""
    assert projection.only(frozenset(names)).compile()(document, variables_with(Budget())) == expected


def test_what_each_computed_field_reads_is_known() -> None:
    """What the computed fields under each name read."""
    projection = parse_projection({"a": "$b.c", "d.e": {"$add": ["$f", "$g"]}, "d.h": "$$ROOT", "i": 1})
    assert projection.reads["a"] == {"b"}
    assert projection.reads["d"] == {"f", "g", "$$ROOT"}
    assert not projection.reads.get("i")
