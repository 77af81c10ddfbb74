"""row_filter.py: which rows a filter of a client lets pass."""

from dataclasses import replace
from typing import Any

import pytest

from changesource.mql.filters import regexes
from changesource.rules import row_filter
from changesource.rules.row_filter import RowFilter, row_filter_problems
from changesource.tables.definition import AppDefinition, Column, Table

CITY = Table(
    "city",
    (
        Column("_id", "string"),
        Column("tenant", "string", optional=True),
        Column("level", "number", optional=True),
        Column("open", "boolean", optional=True),
        Column("extra", "json", optional=True),
    ),
    ("_id",),
    filter_columns=("tenant", "level", "open", "extra"),
)
ACME = ["acme", 1, True, None]


def passes(source: Any, attributes: dict[str, Any], values: list[Any] = ACME) -> bool:
    assert not list(row_filter_problems(AppDefinition("shop", "default", (CITY,)), CITY, source))
    return RowFilter(CITY, source, attributes).passes(values)


@pytest.mark.parametrize(
    ("source", "attributes", "expected"),
    [
        ({"tenant": "$client.tenant"}, {"tenant": "acme"}, True),
        ({"tenant": "$client.tenant"}, {"tenant": "Acme"}, False),
        ({"tenant": "$client.tenant"}, {}, False),
        ({"tenant": "$client.tenant"}, {"tenant": None}, False),
        ({"tenant": "$client.org.name"}, {"org": {"name": "acme"}}, True),
        ({"tenant": "$client.org.name"}, {"org": "acme"}, False),
        ({"tenant": {"$in": "$client.tenants"}}, {"tenants": ["acme", "b"]}, True),
        ({"tenant": {"$in": "$client.tenants"}}, {"tenants": []}, False),
        ({"tenant": {"$nin": "$client.tenants"}}, {"tenants": []}, True),
        ({"tenant": {"$in": []}}, {}, False),
        ({"$client.role": "admin"}, {"role": "admin"}, True),
        ({"$client.role": "admin"}, {"role": "user"}, False),
        ({"$client.role": "admin"}, {}, False),
        ({"$or": [{"tenant": "acme"}, {"tenant": "$client.tenant"}]}, {}, False),
        ({}, {}, True),
        ({"level": {"$gte": "$client.level"}}, {"level": 1.0}, True),
        ({"extra": None}, {}, True),
    ],
)
def test_attributes_take_the_place_of_client(source: Any, attributes: dict[str, Any], expected: bool) -> None:
    """A filter that names a missing one lets nothing pass."""
    assert passes(source, attributes) is expected


@pytest.mark.parametrize("misfit", [1, True, ["acme"], {"a": 1}, [1], 2**60])
@pytest.mark.parametrize(
    "source",
    [
        {"tenant": {"$ne": "$client.own"}},
        {"tenant": {"$nin": "$client.own"}},
        {"tenant": {"$nin": ["x", "$client.own"]}},
        {"$nor": [{"tenant": "$client.own"}]},
        {"tenant": {"$not": {"$eq": "$client.own"}}},
        {"$or": [{"level": 1}, {"tenant": {"$ne": "$client.own"}}]},
    ],
)
def test_an_attribute_that_the_column_cannot_hold_counts_as_missing(source: Any, misfit: Any) -> None:
    """Otherwise a tenant that was entered as a number would see everybody's rows."""
    if source == {"tenant": {"$nin": "$client.own"}} and misfit == ["acme"]:
        misfit = ["other", 5]
    assert not passes(source, {"own": misfit})


@pytest.mark.parametrize("value", [1, "1", "true", None])
def test_one_is_not_true(value: Any) -> None:
    """In either direction, and also after a row with the other value has been decided."""
    is_open = RowFilter(CITY, {"open": True}, {})
    assert is_open.passes(["acme", 1, True, None])
    assert not is_open.passes(["acme", 1, False, None])
    assert not passes({"level": "$client.level"}, {"level": True})
    assert not passes({"open": "$client.open"}, {"open": value})


@pytest.mark.parametrize("text", ["a\nb", "a\0b", "a\u2028b", "\N{OUTBOX TRAY}", "", "$client.tenant"])
def test_texts_are_compared_as_they_are(text: str) -> None:
    """Texts are compared as they are."""
    assert passes({"tenant": "$client.tenant"}, {"tenant": text}, [text, None, None, None])
    assert not passes({"tenant": "$client.tenant"}, {"tenant": text}, [text + " ", None, None, None])


@pytest.mark.parametrize(
    ("source", "attributes", "expected"),
    [
        ({}, {}, True),
        ({"$client.role": "admin"}, {"role": "admin"}, True),
        ({"$client.role": "admin"}, {}, False),
        ({"tenant": "$client.tenant"}, {}, False),
        ({"tenant": "acme"}, {}, None),
    ],
)
def test_a_filter_without_columns_is_constant(source: Any, attributes: dict[str, Any], expected: bool | None) -> None:
    """A table without filter columns may have one."""
    assert RowFilter(CITY, source, attributes).constant is expected
    plain = replace(CITY, filter_columns=())
    if expected is not None:
        assert RowFilter(plain, source, attributes).passes([]) is expected


@pytest.mark.parametrize("source", [{"tenant": {"$regex": "^ac"}}, {"tenant": {"$not": {"$regex": "^x"}}}])
def test_a_row_for_which_the_filter_cannot_be_computed_does_not_pass(
    monkeypatch: pytest.MonkeyPatch, source: Any
) -> None:
    """Whether the filter affirms or negates, and also when the row comes again."""
    assert passes(source, {})
    monkeypatch.setattr(regexes, "MAX_CALL_STEPS", -1)
    filter = RowFilter(CITY, source, {})
    assert [filter.passes(ACME) for _ in range(2)] == [False, False]


def test_filters_are_equal_if_the_same_rows_pass() -> None:
    """Not for 1 and true, nor when names of columns were exchanged."""
    assert RowFilter(CITY, {"tenant": "$client.t"}, {"t": "a"}) == RowFilter(CITY, {"tenant": "a"}, {"t": "b"})
    assert RowFilter(CITY, {"$client.on": 1}, {"on": 1}) != RowFilter(CITY, {"$client.on": 1}, {"on": True})
    fewer = replace(CITY, filter_columns=("tenant",))
    assert RowFilter(CITY, {"tenant": "a"}, {}) == RowFilter(fewer, {"tenant": "a"}, {})
    exchanged = replace(
        CITY,
        columns=(
            CITY.columns[0],
            replace(CITY.columns[1], name="owner"),
            Column("tenant", "string", optional=True, server_name="owner"),
        ),
        filter_columns=("tenant",),
    )
    assert RowFilter(fewer, {"tenant": "a"}, {}) != RowFilter(exchanged, {"tenant": "a"}, {})


def test_decisions_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Except for long texts."""
    monkeypatch.setattr(row_filter, "MAX_REMEMBERED", 3)
    found = RowFilter(CITY, {"tenant": {"$ne": "a"}}, {})
    for tenant in ("a", "b", "c", "d", "a", "x" * 1_000_000, "e", "a"):
        assert found.passes([tenant, None, None, None]) is (tenant != "a")
    assert max(len(key[0]) for key in found._remembered) == 1


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ({"_id": "x"}, "_id: "),
        ({"nope": 1}, "nope: "),
        ({"$exists": {"relationship": "r"}}, "$exists: "),
        ({"$or": [{"tenant": "a"}, {"$exists": {"relationship": "r"}}]}, "$exists: "),
        ({"tenant": 5}, "tenant: "),
        ({"tenant": "$auth.sub"}, "tenant: "),
        ({"$where": "1"}, "$where: "),
        ({"$expr": {"$eq": ["$tenant", "a"]}}, "$expr: "),
        ({"extra": "x"}, "extra: "),
        ({"tenant": {"$regex": "^(a+)+$"}}, "tenant.$regex: "),
        ([], ""),
        ("x", ""),
        (None, ""),
    ],
)
def test_each_problem_has_its_place(source: Any, place: str) -> None:
    """And none is an exception."""
    problems = list(row_filter_problems(AppDefinition("shop", "default", (CITY,)), CITY, source))
    assert problems
    assert str(problems[0].reason).startswith(place)
