"""An app whose names differ everywhere, with rows that hold every kind of value that rules compare."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from changesource.rules.checks import RuleScope
from changesource.tables.definition import AppDefinition, Column, Table

Row = dict[str, Any]


def key() -> Column:
    return Column("id", "number", server_name="key", field="_id")


def column(name: str, column_type: Any, *, optional: bool = True) -> Column:
    return Column(name, column_type, optional, server_name=f"{name}_in_replica", field=f"{name}_in_source")


ISSUE = Table(
    name="issue",
    server_name="issues",
    columns=(
        key(),
        column("text", "string"),
        column("number", "number"),
        column("flag", "boolean"),
        column("data", "json"),
        column("owner", "string", optional=False),
    ),
    primary_key=("id",),
)
MEMBER = Table(
    name="member",
    server_name="members",
    columns=(key(), column("issueId", "number"), column("user", "string"), column("level", "number")),
    primary_key=("id",),
)
LABEL = Table(name="label", server_name="labels", columns=(key(), column("text", "string")), primary_key=("id",))
LABELLING = Table(
    name="labelling",
    server_name="labellings",
    columns=(key(), column("issueId", "number"), column("labelId", "number")),
    primary_key=("id",),
)


def connection(source: str, destination: str, column: str, cardinality: str = "many") -> dict[str, Any]:
    return {"sourceField": [source], "destSchema": destination, "destField": [column], "cardinality": cardinality}


RELATIONSHIPS = {
    "issue": {
        "members": [connection("id", "member", "issueId")],
        "labels": [connection("id", "labelling", "issueId"), connection("labelId", "label", "id", "one")],
        "twins": [connection("text", "issue", "text")],
    },
    "member": {"issue": [connection("issueId", "issue", "id", "one")]},
}


def app(relationships: Mapping[str, Any] = RELATIONSHIPS, **permissions: str) -> AppDefinition:
    """The app, with the permissions of tables by their names."""
    tables = [
        Table(
            name=table.name,
            server_name=table.server_name,
            columns=table.columns,
            primary_key=table.primary_key,
            permissions=permissions.get(table.name, ""),
        )
        for table in (ISSUE, MEMBER, LABEL, LABELLING)
    ]
    return AppDefinition("shop", "default", tuple(tables), relationships)


SCOPE = RuleScope(app())

TEXTS = (None, "", "a", "ab", "A", "b%_c", "a\nb", "é", "\uffff", "😀", "5", "507f1f77bcf86cd799439011")
NUMBERS = (None, 0, -1, 1, 1.5, 5, 2**53 - 1, 1e300)
FLAGS = (None, True, False)


def _numbered(rows: Sequence[Row]) -> list[Row]:
    return [{"id": number, **row} for number, row in enumerate(rows)]


ROWS: dict[str, list[Row]] = {
    "issue": _numbered(
        [
            {
                "text": text,
                "number": number,
                "flag": FLAGS[position % 3],
                "data": (None, '{"a":1}', "[null]")[position // 3 % 3],
                "owner": ("u1", "u2", "")[position % 3],
            }
            for position, (text, number) in enumerate([*product(TEXTS, NUMBERS[:2]), *product(TEXTS[:3], NUMBERS[2:])])
        ]
    ),
    "member": _numbered(
        [
            {"issueId": issue, "user": user, "level": level}
            for issue, user, level in [
                *product((0, 3, 7, 20), ("u1", None), (1, None)),
                (None, "u1", 1),
                (5, "u2", 3),
                (6, "a", 1.5),
            ]
        ]
    ),
    "label": _numbered([{"text": text} for text in TEXTS[:5]]),
    "labelling": _numbered(
        [{"issueId": issue, "labelId": label} for issue, label in [(0, 0), (0, 2), (1, 2), (2, 3), (9, None), (8, 99)]]
    ),
}


def in_replica(table: Table, rows: Sequence[Row]) -> dict[str, Any]:
    """The table as `evaluate_permissions.mjs` takes it."""
    names = {column.name: column.server_name for column in table.columns}
    types = {column.server_name: {"type": column.type, "optional": column.optional} for column in table.columns}
    return {"columns": types, "rows": [{names[name]: value for name, value in row.items()} for row in rows]}


TABLES_IN_REPLICA = {table.server_name: in_replica(table, ROWS[table.name]) for table in SCOPE.app.tables}
