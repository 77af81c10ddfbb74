"""Where paths lead: mongod's rules for arrays on the way and at the end."""

import pytest
from bson import DBRef

from changesource.mql.bson_types import MISSING
from changesource.mql.budget import Budget
from changesource.mql.filters.paths import leads_to


def values_at(path, document, *, elements=True):
    """All that the path leads to."""
    seen = []

    def see(value, _budget):
        seen.append(value)

    assert not leads_to(tuple(path.split(".")), see, elements=elements)(document, Budget())
    return seen


@pytest.mark.parametrize(
    ("path", "document", "values"),
    [
        ("a", {}, [MISSING]),
        ("a", {"a": None}, [None]),
        ("a", {"a": {"b": 1}}, [{"b": 1}]),
        ("a", {"a": [1, [2]]}, [1, [2], [1, [2]]]),
        ("a", {"a": []}, [[]]),
        ("a.b", {"a": {"b": 1}}, [1]),
        ("a.b", {"a": {}}, [MISSING]),
        ("a.b", {}, [MISSING]),
        ("a.b", {"a": 5}, [MISSING]),
        ("a.b", {"a": None}, [MISSING]),
        ("a.b.c", {"a": {"b": 5}}, [MISSING]),
        ("a.b", {"a": []}, []),
        ("a.b", {"a": [1, None, [{"b": 1}]]}, []),
        ("a.b", {"a": [{"b": 1}, {}, 3, {"b": 4}]}, [1, MISSING, 4]),
        ("a.b", {"a": [{"b": [5, 6]}, {"b": []}]}, [5, 6, [5, 6], []]),
        ("a.b.c", {"a": [{"b": [{"c": 1}]}, {"b": {"c": 2}}, {"b": 3}]}, [1, 2, MISSING]),
        ("a.1", {"a": [5, 7, 3]}, [7]),
        ("a.3", {"a": [5, 7, 3]}, []),
        ("a.01", {"a": [5, 7, 3]}, []),
        ("a.1", {"a": {"1": 7}}, [7]),
        ("a.1", {"a": [5, [2, 4], 3]}, [[2, 4]]),
        ("a.1", {"a": [5, {"1": 4}, 3]}, [4, {"1": 4}]),
        ("a.1.b", {"a": [5, {"b": 4}, 3]}, [MISSING, 4]),
        ("a.1.b", {"a": [5, [{"b": 4}], 3]}, [4]),
        ("a.0.1", {"a": [[5, 6]]}, [6]),
        ("a.0.b", {"a": [5]}, []),
        ("0", {"0": [5]}, [5, [5]]),
        ("a.b.0", {"a": [{"b": [5, 6]}]}, [5]),
        ("a.$id", {"a": DBRef("rooms", 7)}, [7]),
        ("a.$id", {"a": [DBRef("rooms", 7), DBRef("rooms", 8)]}, [7, 8]),
    ],
)
def test_a_path_leads_to_each_value_that_mongod_finds(path, document, values):
    """In any order."""
    assert sorted(map(repr, values_at(path, document))) == sorted(map(repr, values))


@pytest.mark.parametrize(
    ("path", "document", "values"),
    [
        ("a", {"a": [1, [2]]}, [[1, [2]]]),
        ("a.b", {"a": [{"b": [5, 6]}, {"b": 7}]}, [[5, 6], 7]),
        ("a.0", {"a": [[1, 2], 3]}, [[1, 2]]),
    ],
)
def test_without_elements_an_array_at_the_end_is_only_itself(path, document, values):
    """Arrays on the way are entered."""
    assert values_at(path, document, elements=False) == values


def test_a_name_of_many_digits_is_not_an_index():
    """And Python can read it."""
    assert values_at("a." + "1" * 5000, {"a": [1]}) == []
