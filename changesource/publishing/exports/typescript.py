"""Zero's schema as the `schema.ts` of an app that uses `@rocicorp/zero` 1.9."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, count

from changesource.publishing.exports.relationships import cardinality_of, relationships_by_table
from changesource.tables.definition import AppDefinition, Column, Table
from changesource.tables.relationships import Connection, Relationship

PLAIN_KEY = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")
"""Keys of objects that need no quotes. Reserved words may be keys."""

INDENT = "  "


def typescript_schema(definition: AppDefinition) -> str:
    """The text of a module that exports `schema`, its type `Schema`, a type for the rows of each
    table, and the query builder `zql`. It compiles with `tsc --strict`.

    Raises `InvalidDefinition` for relationships that `createSchema` would refuse.
    """
    relationships = relationships_by_table(definition)
    names = [table.name for table in definition.tables]
    constants = _distinct(names, _constant_name)
    return "\n".join(
        [
            f"// The schema of the app {definition.app_id}, exported by Zero Sources for Django. Do not edit; export again.",
            "",
            _imports(definition, has_relationships=bool(relationships)),
            "",
            *(f"{_table(table, constants[table.name])}\n" for table in definition.tables),
            *(f"{_relationships(constants, name, relationships[name])}\n" for name in relationships),
            _schema(
                [constants[name] for name in names], [_of_relationships(constants[name]) for name in relationships]
            ),
            "",
            "export type Schema = typeof schema;",
            "",
            "// The type of a row of each table, as queries return it.",
            *(
                f'export type {row_type} = Row<Schema["tables"][{_string(name)}]>;'
                for name, row_type in _distinct(names, _row_type_name).items()
            ),
            "",
            "export const zql = createBuilder(schema);",
            "",
        ]
    )


def _imports(definition: AppDefinition, *, has_relationships: bool) -> str:
    values = {"createBuilder", "createSchema", "table"}
    values |= {column.type for table in definition.tables for column in table.columns}
    values |= {"relationships"} if has_relationships else set()
    lines = _lines([*sorted(values), "type Row"], depth=1)
    return f'import {{\n{lines}}} from "@rocicorp/zero";'


def _table(table: Table, constant: str) -> str:
    columns = _lines((f"{_key(column.name)}: {_column(column)}" for column in table.columns), depth=2)
    primary_key = ", ".join(_string(name) for name in table.primary_key)
    calls = [
        f"table({_string(table.name)})",
        *([f"{INDENT}.from({_string(table.server_name)})"] if table.server_name != table.name else []),
        f"{INDENT}.columns({{\n{columns}{INDENT}}})",
        f"{INDENT}.primaryKey({primary_key});",
    ]
    return f"const {constant} = " + "\n".join(calls)


def _column(column: Column) -> str:
    optional = ".optional()" if column.optional else ""
    server_name = f".from({_string(column.server_name)})" if column.server_name != column.name else ""
    return f"{column.type}(){optional}{server_name}"


def _relationships(constants: Mapping[str, str], table: str, relationships: Sequence[Relationship]) -> str:
    constant = constants[table]
    head = f"const {_of_relationships(constant)} = relationships({constant}, "
    if not relationships:
        return f"{head}() => ({{}}));"
    connectors = ", ".join(sorted({cardinality_of(relationship) for relationship in relationships}))
    members = _lines((_relationship(constants, relationship) for relationship in relationships), depth=1)
    return f"{head}({{ {connectors} }}) => ({{\n{members}}}));"


def _relationship(constants: Mapping[str, str], relationship: Relationship) -> str:
    connections = _lines((_connection(constants, connection) for connection in relationship.connections), depth=2)
    return f"{_key(relationship.name)}: {cardinality_of(relationship)}(\n{connections}{INDENT})"


def _connection(constants: Mapping[str, str], connection: Connection) -> str:
    source_fields = ", ".join(_string(name) for name in connection.source_columns)
    dest_fields = ", ".join(_string(name) for name in connection.destination_columns)
    dest_table = constants[connection.destination]
    return f"{{ sourceField: [{source_fields}], destField: [{dest_fields}], destSchema: {dest_table} }}"


def _schema(tables: Sequence[str], relationships: Sequence[str]) -> str:
    members = [
        f"tables: [{', '.join(tables)}]",
        # Even if empty: otherwise its type would be one that @rocicorp/zero does not export (tsc
        # --declaration).
        f"relationships: [{', '.join(relationships)}]",
        "// Clients may define queries themselves; the permissions of the app decide which rows they see.\n"
        f"{INDENT}enableLegacyQueries: true",
    ]
    return f"export const schema = createSchema({{\n{_lines(members, depth=1)}}});"


def _lines(items: Iterable[str], depth: int) -> str:
    return "".join(f"{INDENT * depth}{item},\n" for item in items)


def _key(name: str) -> str:
    if name == "__proto__":
        return '["__proto__"]'  # without brackets, it would set the prototype of the object
    return name if PLAIN_KEY.fullmatch(name) else _string(name)


def _string(text: str) -> str:
    # Every JSON string is a JavaScript string; plain ASCII survives any encoding of the file.
    return json.dumps(text)


def _distinct(names: Iterable[str], spell: Callable[[str], str]) -> dict[str, str]:
    """Name → its identifier in the module. A number tells apart those that would be the same."""
    identifiers: dict[str, str] = {}
    for name in names:
        spelled = spell(name)
        candidates = chain([spelled], (f"{spelled}{number}" for number in count(2)))
        identifiers[name] = next(each for each in candidates if each not in identifiers.values())
    return identifiers


def _constant_name(name: str) -> str:
    camel_case = _camel_case(name)
    return _identifier(camel_case[:1].lower() + camel_case[1:] + "Table")


def _row_type_name(name: str) -> str:
    return _identifier(_camel_case(name) + "Row")


def _of_relationships(constant: str) -> str:
    return f"{constant}Relationships"


def _camel_case(name: str) -> str:
    return "".join(word[:1].upper() + word[1:] for word in re.findall(r"[A-Za-z0-9]+", name))


def _identifier(word: str) -> str:
    """`word`, with an underscore in front if it would begin with a digit, or if there is nothing
    before its ending."""
    return word if word[0].isalpha() and word not in ("Table", "Row") else f"_{word}"
