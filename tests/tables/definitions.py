"""Strategies for definitions: sound ones, and arbitrary ones."""

import json
from typing import Any

from hypothesis import strategies as st

from changesource.tables.definition import COLUMN_TYPES, AppDefinition, Column, Table

names = st.one_of(
    st.text(max_size=70),
    st.sampled_from(["_id", "city", "City", "_zero.x", "sqlite_x", "_0_version", "system.views", "$x", "a.b", ""]),
)
mappings = st.fixed_dictionaries(
    {},
    optional={
        "filter": st.dictionaries(names, st.integers() | st.booleans(), max_size=2),
        "projection": st.dictionaries(names, st.integers(0, 1) | names, max_size=3),
        "pipeline": st.lists(
            st.dictionaries(st.sampled_from(["$match", "$project", "$unwind", "x"]), names, max_size=1)
        ),
        "source": names,
    },
)
columns = st.builds(
    Column,
    name=names,
    type=st.one_of(st.sampled_from(COLUMN_TYPES), names),  # type: ignore[arg-type]
    optional=st.booleans(),
    server_name=names,
    field=names,
)
tables = st.builds(
    Table,
    name=names,
    columns=st.lists(columns, max_size=5).map(tuple),
    primary_key=st.lists(names, max_size=3).map(tuple),
    server_name=names,
    collection=names,
    mapping=names | mappings.map(json.dumps),
    filter_columns=st.lists(names, max_size=3).map(tuple),
    indexes=st.lists(st.lists(names, max_size=3).map(tuple), max_size=3).map(tuple),
)
definitions = st.builds(
    AppDefinition,
    app_id=names,
    source=names,
    tables=st.lists(tables, max_size=4).map(tuple),
    relationships=st.dictionaries(names, st.recursive(names | st.integers() | st.none(), st.lists, max_leaves=5)),
    publications=st.dictionaries(names, st.recursive(names | st.integers() | st.none(), st.lists, max_leaves=5)),
)


def table(**changes: Any) -> Table:
    """A table that may be published, but for `changes`."""
    values: dict[str, Any] = {
        "name": "city",
        "columns": (Column("_id", "string"), Column("name", "string", optional=True)),
        "primary_key": ("_id",),
    }
    return Table(**{**values, **changes})
