"""client_view.py, row_filter.py: whatever happens to documents, each client's rows are those that its filters let pass, and
nothing that is sent to it is about any other."""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from changesource.log.entries import Entry
from changesource.publishing.client_view import Access, ClientView
from changesource.tables.definition import Column, Table
from tests.examples import examples
from tests.simulation.histories import Document, History, Reading, histories
from tests.simulation.mapped_tables import BY_ID, BY_PRE_IMAGES, Rows, rows_of, version_of

TABLES = [
    replace(table, filter_columns=tuple(column.name for column in table.columns if column.type != "json"))
    for table in (*BY_ID, *BY_PRE_IMAGES)
]
VERSIONS = {table.name: version_of(table) for table in TABLES}
TEXTS = ("12", "13", "Bern", "x", "x-0", "red", "c1", "i1", "u-x")
NUMBERS = (-1, 0, 1, 2, 3)


@dataclass(frozen=True)
class Chosen:
    """A filter, the attributes that it needs, and by other means the same: whether a row passes."""

    source: dict[str, Any]
    attributes: dict[str, Any]
    passes: Callable[[dict[str, Any]], bool]


@pytest.fixture(autouse=True, scope="module")
def quiet() -> Any:
    """Missing pre-images are logged, thousands of times."""
    logging.disable(logging.ERROR)
    yield
    logging.disable(logging.NOTSET)


@st.composite
def chosen_filters(draw: Any, table: Table) -> Chosen:
    """Of one column, or of two with "or", with values of the client's attributes or without."""
    columns = [column for column in table.columns if column.name in table.filter_columns]
    first = _condition(draw, draw(st.sampled_from(columns)), "one")
    if draw(st.booleans()):
        return first
    second = _condition(draw, draw(st.sampled_from(columns)), "two")
    return Chosen(
        {"$or": [first.source, second.source]},
        first.attributes | second.attributes,
        lambda row: first.passes(row) or second.passes(row),
    )


def _condition(draw: Any, column: Column, name: str) -> Chosen:
    values = TEXTS if column.type == "string" else NUMBERS
    kind = draw(st.sampled_from(["is", "is not", "in", "from"]))
    key = column.server_name
    if kind == "in":
        several = draw(st.lists(st.sampled_from(values), max_size=3))
        return Chosen({key: {"$in": f"$client.{name}"}}, {name: several}, lambda row: row[key] in several)
    value = draw(st.sampled_from(values))
    operator, passes = {
        "is": ("$eq", lambda row: row[key] == value),
        "is not": ("$ne", lambda row: row[key] != value),
        "from": ("$gte", lambda row: row[key] is not None and row[key] >= value),
    }[kind]
    if draw(st.booleans()):
        return Chosen({key: {operator: f"$client.{name}"}}, {name: value}, passes)
    return Chosen({key: {operator: value}}, {}, passes)


class ClientReading(Reading):
    """A reading by a session with a view. `sent` are the row messages that went to the client."""

    view: ClientView
    sent: list[Any]

    def rows_of(self, documents: Sequence[Document]) -> dict[str, Rows]:
        tables = {table.table.name: table for table in self.view.tables}
        return {
            name: {tables[name].table.key_of(row): row for row in self.view.rows(tables[name], iter(rows.values()))}
            for name, rows in rows_of(self.version, documents).items()
        }

    def frames_of(self, entry: Entry) -> list[tuple[str, bytes]]:
        frames = []
        for frame in self.view.select_frames(entry):
            change = json.loads(frame)[1]
            name = (change.get("relation") or change["relations"][0])["name"]
            self.sent.append(change)
            frames.append((name, frame))
        return frames


@settings(deadline=None, max_examples=examples(120), suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), history=histories())
def test_each_client_gets_the_rows_that_its_filters_let_pass(data: Any, history: History) -> None:
    """Two clients with filters of their own over the same changes, each reading in its own way: rows that pass, no others,
    and no key of a row that never passed."""
    for table in data.draw(
        st.lists(st.sampled_from(TABLES), min_size=2, max_size=3, unique_by=lambda table: table.name)
    ):
        for _ in range(2):
            _check_client(data, history, table, data.draw(chosen_filters(table)))


def _check_client(data: Any, history: History, table: Table, chosen: Chosen) -> None:
    version = VERSIONS[table.name]
    reading = ClientReading(data.draw, history, version)
    reading.view = ClientView(version, Access(None, {table.name: chosen.source}, chosen.attributes))
    reading.sent = []
    replica = reading.replica_after_all()
    states = [rows_of(version, state.values())[table.name] for state in history.states]
    assert replica.tables[table.name] == {key: row for key, row in states[-1].items() if chosen.passes(row)}
    ever_passed = {key for rows in states for key, row in rows.items() if chosen.passes(row)}
    for change in reading.sent:
        if change["tag"] == "insert":
            assert chosen.passes(change["new"])
        elif change["tag"] == "delete":
            assert tuple(change["key"].values()) in ever_passed
