"""Definitions to export."""

from typing import Any

from hypothesis import strategies as st

from changesource.publishing.definition_problems import find_problems
from changesource.tables.definition import COLUMN_TYPES, IDENTIFIER_PATTERN, AppDefinition, Column, Table


def table(name: str, *columns: Column, key: tuple[str, ...] = ("_id",), **values: str) -> Table:
    """A table with `_id` and `columns`."""
    return Table(name=name, columns=(Column("_id", "string"), *columns), primary_key=key, **values)


def connection(source: str, dest: str, dest_table: str, cardinality: str = "many") -> dict[str, Any]:
    return {"sourceField": [source], "destField": [dest], "destSchema": dest_table, "cardinality": cardinality}


EVERYTHING = AppDefinition(
    "shop",
    "default",
    tables=(
        table(
            "order-items",
            Column("class", "string", server_name="class-name"),
            Column("price", "number", optional=True),
            Column("is_paid", "boolean", field="paid"),
            Column("tags", "json"),
            Column("meta-data", "json", optional=True, server_name="meta"),
            Column("customer", "string", optional=True),
            server_name="order_items",
            collection="orders",
            mapping='{"filter": {"price": {"$gt": 1}}}',
        ),
        table("orderItems", Column("n", "number"), key=("_id", "n")),
        table("customer", Column("referrer", "string", optional=True)),
        table("label"),
        table("customer_label", Column("customer", "string"), Column("label", "string")),
        table("string", Column("number", "number"), server_name="text"),
        table("Row", Column("__proto__", "string", server_name="proto"), Column("constructor", "json")),
        table("_"),
        table("_1"),
    ),
    relationships={
        "order-items": {"buyer": [connection("customer", "_id", "customer", "one")]},
        "customer": {
            "orders": [connection("_id", "customer", "order-items")],
            "labels": [connection("_id", "customer", "customer_label"), connection("label", "_id", "label")],
            "referred-by": [connection("referrer", "_id", "customer", "one")],
        },
        "label": {},
    },
)
"""Each thing that a schema can say, and names that mean something in TypeScript."""

WORDS = ["class", "default", "await", "__proto__", "constructor", "toString", "schema", "zql", "Row", "table", "string"]
WORDS += [
    "createSchema",
    "relationships",
    "Schema",
    "customerTable",
    "eval",
    "_",
    "__",
    "_0",
    "a-b",
    "a_b",
    "aB",
    "A-B",
]

names = st.sampled_from(WORDS) | st.from_regex(IDENTIFIER_PATTERN, fullmatch=True).map(lambda name: name[:63])


@st.composite
def definitions(draw: st.DrawFn) -> AppDefinition:
    """What may be published, with odd names."""
    tables = [
        Table(
            name=name,
            columns=tuple(
                Column(
                    column_name,
                    draw(st.sampled_from(COLUMN_TYPES)) if index else "string",
                    optional=bool(index) and draw(st.booleans()),
                    server_name=draw(st.just("") | names),
                )
                for index, column_name in enumerate(draw(st.lists(names, min_size=1, max_size=4, unique=True)))
            ),
            primary_key=(),
            server_name=draw(st.just("") | names),
        )
        for name in draw(st.lists(names, min_size=1, max_size=4, unique=True))
    ]
    tables = [Table(each.name, each.columns, (each.columns[0].name,), each.server_name) for each in tables]
    relationships = {
        source.name: {
            name: [
                connection(
                    source.primary_key[0], dest.primary_key[0], dest.name, draw(st.sampled_from(["one", "many"]))
                )
            ]
            for name in draw(st.lists(names, max_size=2, unique=True))
            if name not in {column.name for column in source.columns}
            for dest in [draw(st.sampled_from(tables))]
        }
        for source in draw(st.lists(st.sampled_from(tables), unique_by=lambda each: each.name))
    }
    return AppDefinition("shop", "default", tuple(tables), relationships)


publishable_definitions = definitions().filter(lambda definition: not find_problems(definition))
