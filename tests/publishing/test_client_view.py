"""client_view.py: the tables, rows and rules that a client is shown of a version."""

import json
from typing import Any

import pytest

from changesource.log.entries import Entry, EntryId
from changesource.log.filter_values import FilterValues, pack_filter_values, unpack_filter_values
from changesource.protocol.watermarks import Position
from changesource.publishing.client_view import Access, ClientView, Withheld
from changesource.publishing.compiled import CompiledVersion
from changesource.tables.definition import AppDefinition, Column, Table

TENANT = Column("tenant", "string", server_name="tenant_id")
ANYBODY = {"select": [{}]}


def city_rules(rule: Any) -> str:
    return json.dumps({"select": [rule, {"tenant": "$auth.sub"}]})


CITY = Table("city", (Column("_id", "string"), TENANT), ("_id",), "cities", filter_columns=("tenant",))
RIVER = Table("river", (Column("_id", "string"), Column("cityId", "string")), ("_id",))
SECRET = Table("secret", (Column("_id", "string"), Column("cityId", "string")), ("_id",))
TABLES = (CITY, RIVER, SECRET)
TO_RIVER = {"sourceField": ["_id"], "destField": ["cityId"], "destSchema": "river", "cardinality": "many"}
TO_SECRET = {**TO_RIVER, "destSchema": "secret"}
SECRET_TO_RIVER = {"sourceField": ["cityId"], "destField": ["cityId"], "destSchema": "river", "cardinality": "many"}
APP = AppDefinition(
    "shop",
    "default",
    TABLES,
    relationships={"city": {"rivers": [TO_RIVER], "secrets": [TO_SECRET], "through": [TO_SECRET, SECRET_TO_RIVER]}},
    publications={"water": ["river"], "all": ["city", "river", "secret"], "gone": ["nope"]},
)
VERSION = CompiledVersion(APP, 3)


def view(
    tables: list[str] | None = None,
    filters: Any = None,
    attributes: dict[str, Any] | None = None,
    publications: tuple[str, ...] = (),
    version: CompiledVersion = VERSION,
) -> ClientView:
    text = filters if isinstance(filters, str) else json.dumps(filters or {})
    access = Access.from_json(json.dumps({"tables": tables, "rowFilters": text, "attributes": attributes or {}}))
    return ClientView(version, access, publications)


def names(shown: ClientView) -> list[str]:
    found = [table.table.name for table in shown.tables]
    assert sorted(found) == sorted(table.server_name for table in shown.definition.tables)
    assert sorted(found) == sorted(
        table.table.name for tables in shown.tables_of_collection.values() for table in tables
    )
    return found


# Tables


@pytest.mark.parametrize(
    ("tables", "filters", "publications", "expected"),
    [
        (None, "", (), ["cities", "river", "secret"]),
        ([], "", (), []),
        (["city", "nope"], "", (), ["cities"]),
        (["cities"], "", (), []),
        (["city", "river"], "", ("water",), ["river"]),
        (["city"], "", ("water",), []),
        (["city"], "", ("water", "all"), ["cities"]),
        (None, "", ("gone",), []),
        (None, "", ("unknown",), []),
        (None, "no JSON", (), []),
        (None, "[]", (), []),
        (None, {"city": {"nope": 1}}, (), ["river", "secret"]),
        (None, {"river": {"cityId": "a"}}, (), ["cities", "secret"]),
        (None, {"city": {"tenant": 5}}, (), ["river", "secret"]),
        (None, {"city": "x"}, (), ["river", "secret"]),
    ],
)
def test_a_view_has_the_granted_tables_of_the_publications_that_are_asked_for(
    tables: Any, filters: Any, publications: tuple[str, ...], expected: list[str]
) -> None:
    """A table whose row filter cannot be used is left out."""
    assert names(view(tables, filters, None, publications)) == expected


def test_a_filter_of_an_unknown_table_hides_all_tables_without_a_filter() -> None:
    """The table may have been renamed, and all of its rows would be shown."""
    filters = {"town": {"tenant": "$client.tenant"}}
    assert names(view(None, filters, {"tenant": "a"})) == []
    assert names(view(None, {**filters, "city": {"tenant": "a"}})) == ["cities"]
    assert names(view(["city", "river"], filters)) == ["cities", "river"]


# Rows


def entry(*changes: tuple[str, Any, FilterValues | None]) -> Entry:
    """Of the table `city`: tags with rows, and the filter values of each."""
    frames = {"insert": "upsert", "delete": "delete"}
    table = VERSION.tables[0].frames
    made = [table.truncate() if tag == "truncate" else getattr(table, frames[tag])(row) for tag, row, _ in changes]
    return Entry(
        id=EntryId(Position(1)),
        commit_time_ms=0,
        tables={"cities": b"\n".join(made), "secret": b'["data",{"tag":"truncate"}]'},
        filter_values={"cities": pack_filter_values([values for *_, values in changes])},
        version=3,
    )


def sent(shown: ClientView, *changes: tuple[str, Any, FilterValues | None], **options: Any) -> list[Any]:
    messages = [json.loads(frame)[1] for frame in shown.select_frames(entry(*changes), **options)]
    return [(message["tag"], message.get("new") or message.get("key")) for message in messages]


ROW = {"_id": "1", "tenant_id": "a\nb\u2028"}
MINE, OTHERS = [ROW["tenant_id"]], ["other"]
OF_MINE = view(["city"], {"city": {"tenant": "$client.t"}}, {"t": ROW["tenant_id"]})


@pytest.mark.parametrize(
    ("tag", "values", "expected"),
    [
        ("insert", FilterValues(MINE, []), ("insert", ROW)),
        ("insert", FilterValues(MINE, [OTHERS]), ("insert", ROW)),
        ("insert", FilterValues(OTHERS, []), None),
        ("insert", FilterValues(OTHERS, [OTHERS]), None),
        ("insert", FilterValues(OTHERS, [OTHERS, MINE]), ("delete", {"_id": "1"})),
        ("delete", FilterValues(None, [MINE]), ("delete", {"_id": "1"})),
        ("delete", FilterValues(None, [OTHERS]), None),
        ("delete", FilterValues(None, []), None),
        ("truncate", None, ("truncate", None)),
    ],
)
def test_rows_that_move_in_are_upserted_and_rows_that_move_out_are_removed(
    tag: str, values: FilterValues | None, expected: Any
) -> None:
    """Nothing is sent of rows that were never there."""
    row = {"_id": "1"} if tag == "delete" else ROW
    assert sent(OF_MINE, (tag, row, values)) == ([expected] if expected else [])
    assert sent(OF_MINE, ("insert", ROW, FilterValues(OTHERS, [])), (tag, row, values)) == (
        [expected] if expected else []
    )
    assert sent(OF_MINE, (tag, row, values), withheld=Withheld(frozenset({"cities"}))) == []


def test_values_are_kept_as_they_are() -> None:
    """Whatever text or number stands in a filter column."""
    values = [FilterValues(["a\nb\0\u2028", 1, True, None, 1.5, 2**53 - 1], [["x"], [None]]), None]
    # To Python, 1 is True.
    assert repr(unpack_filter_values(pack_filter_values(values))) == repr(values)


@pytest.mark.parametrize(("attributes", "expected"), [({"role": "admin"}, ["insert"]), ({"role": "x"}, []), ({}, [])])
def test_a_filter_without_columns_serves_a_table_without_filter_columns(
    attributes: dict[str, Any], expected: list[str]
) -> None:
    """It asks for attributes only, and the log has no filter values."""
    shown = view(["secret"], {"secret": {"$client.role": "admin"}}, attributes)
    table = VERSION.tables[2]
    row = {"_id": "1", "cityId": "c"}
    found = shown.select_frames(
        Entry(id=EntryId(Position(1)), commit_time_ms=0, tables={"secret": table.frames.upsert(row)}, version=3)
    )
    assert [json.loads(frame)[1]["tag"] for frame in found] == expected
    assert list(shown.rows(table, iter([row]))) == [row] * len(expected)


def test_an_empty_filter_lets_every_row_pass() -> None:
    shown = view(["city"], {"city": {}})
    assert sent(shown, ("insert", ROW, FilterValues(OTHERS, []))) == [("insert", ROW)]
    assert shown.row_filters == {}


def test_withheld_columns_are_null_in_upserts() -> None:
    """Removals are as they were, and row filters still see the values."""
    withheld = Withheld(columns={"cities": frozenset({"tenant_id"})})
    nulled = {**ROW, "tenant_id": None}
    assert sent(OF_MINE, ("insert", ROW, FilterValues(MINE, [])), withheld=withheld) == [("insert", nulled)]
    assert sent(OF_MINE, ("insert", ROW, FilterValues(OTHERS, [MINE])), withheld=withheld) == [("delete", {"_id": "1"})]
    assert sent(OF_MINE, ("truncate", None, None), withheld=withheld) == [("truncate", None)]
    others = {"_id": "2", "tenant_id": "other"}
    [frame] = OF_MINE.upserts(OF_MINE.tables[0], iter([ROW, others]), withheld)
    assert json.loads(frame)[1]["new"] == nulled


# Permissions


@pytest.mark.parametrize(
    "rule",
    [
        {"$exists": {"relationship": "secrets"}},
        {"$nor": [{"$exists": {"relationship": "secrets"}}]},
        {"$or": [{"tenant": "a"}, {"$exists": {"relationship": "through"}}]},
    ],
)
def test_rules_that_ask_for_a_hidden_table_let_nobody_pass(rule: Any) -> None:
    """Neither that table nor its columns are named, even where it is only passed through."""
    table = Table("city", CITY.columns, ("_id",), "cities", permissions=city_rules(rule))
    app = AppDefinition("shop", "default", (table, RIVER, SECRET), APP.relationships)
    whole = view(None, version=CompiledVersion(app, 1)).permissions
    shown = view(["city", "river"], version=CompiledVersion(app, 1)).permissions
    assert "secret" in str(whole.permissions)
    assert shown.permissions is not None
    assert "secret" not in shown.permissions
    assert len(json.loads(shown.permissions)["tables"]["cities"]["row"]["select"]) == 1
    assert shown.hash != whole.hash


def test_permissions_name_shown_tables_only() -> None:
    tables = [Table(table.name, table.columns, ("_id",), permissions=json.dumps(ANYBODY)) for table in TABLES]
    version = CompiledVersion(AppDefinition("shop", "default", tuple(tables)), 1)
    shown = view(["river"], version=version).permissions.permissions
    assert shown is not None
    assert list(json.loads(shown)["tables"]) == ["river"]
    assert view([], version=version).permissions.permissions is None
