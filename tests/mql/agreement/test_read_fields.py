"""The rows of a document that `find` gives only the fields of that its tables read are those of the whole document."""

import json
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from changesource.errors import MappingRefused
from changesource.mongo.read_fields import projection_for
from changesource.mql.budget import Budget
from changesource.tables.compiled_table import CompiledTable
from changesource.tables.definition import Column, Table
from changesource.tables.row_errors import RowError
from changesource.tables.values import CODEC_OPTIONS
from tests.mql.agreement.documents import FIELDS, batches
from tests.mql.agreement.outcomes import Document, Documents
from tests.mql.agreement.test_agreement import agreeing, repeat
from tests.mql.mappings import NAMES, mappings, values

few_names = st.lists(st.dictionaries(st.sampled_from(NAMES), values, max_size=4), min_size=1, max_size=6).map(
    lambda found: [{"_id": number, **fields} for number, fields in enumerate(found)]
)
"""Documents of which the mappings say much."""

columns = st.lists(
    st.builds(
        Column,
        name=st.sampled_from([*NAMES, *FIELDS, "i"]),
        type=st.sampled_from(["string", "number", "boolean", "json"]),
        optional=st.booleans(),
    ),
    max_size=4,
    unique_by=lambda column: column.name,
)


def table_of(mapping: Any, others: list[Column]) -> CompiledTable:
    try:
        return CompiledTable(Table("items", (Column("_id", "json"), *others), ("_id",), mapping=json.dumps(mapping)))
    except MappingRefused:
        assume(False)
        raise


def test_the_fields_that_are_read_give_the_rows_of_whole_documents(collection: Documents) -> None:
    """The rows, their row errors and what they cost are the same, for several tables of a collection together."""

    @agreeing
    @given(few_names | batches, st.lists(st.tuples(mappings, columns), min_size=1, max_size=3))
    def agree(documents: list[Document], found: list[tuple[Any, list[Column]]]) -> None:
        tables = [table_of(*each) for each in found]
        projection = projection_for(frozenset().union(*(table.reads for table in tables)))
        assume(projection is not None)
        collection.delete_many({})
        collection.insert_many([dict(document) for document in documents])
        wholes = list(collection.find(sort=[("_id", 1)]))
        parts = list(collection.find({}, projection, sort=[("_id", 1)]))
        assert len(wholes) == len(parts)
        for whole, part in zip(wholes, parts, strict=True):
            for table in tables:
                assert made(table, part) == made(table, whole)

    repeat(agree)


def made(table: CompiledTable, document: Document) -> Any:
    errors: list[RowError] = []
    budget = Budget()
    rows = table.rows(document, errors, budget)
    return rows, errors, budget.steps, budget.rows, budget.bytes


def test_a_path_in_a_projection_would_change_the_rows(collection: Documents) -> None:
    """So only top-level fields are asked for: a path would lose what stands beside an object in an array."""
    collection.delete_many({})
    collection.insert_one({"_id": 1, "a": [1, {"b": 2, "c": 3}], "other": 4})
    assert collection.with_options(CODEC_OPTIONS).find_one({}, {"a.b": 1}) == {"_id": 1, "a": [{"b": 2}]}
    assert collection.find_one({}, projection_for({"a"})) == {"_id": 1, "a": [1, {"b": 2, "c": 3}]}
