"""Zero's schema as the `schema.ts` of an app that uses `@rocicorp/zero` 1.9."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from changesource.publishing.exports.relationships import cardinality_of, relationships_by_table
from changesource.publishing.exports.typescript_queries import typescript_queries
from changesource.publishing.exports.typescript_text import (
    INDENT,
    camel_case,
    distinct,
    identifier,
    key,
    string,
    type_name,
)
from changesource.queries.registry import NamedQuery
from changesource.queries.written import WrittenQuery, written_queries
from changesource.tables.definition import AppDefinition, Column, Table
from changesource.tables.relationships import Connection, Relationship

LEGACY_QUERIES = (
    "// Clients may define queries themselves; the permissions of the app decide which rows they see.\n"
    f"{INDENT}enableLegacyQueries: true"
)


def typescript_schema(
    definition: AppDefinition, queries: Mapping[str, NamedQuery] | None = None, *, legacy_queries: bool = True
) -> str:
    """The text of a module that exports `schema`, its type `Schema`, a type for the rows of each
    table, the query builder `zql`, and what `typescript_queries` makes of the named queries of the
    app, if there are any: those that are written with it, and `queries`, which are functions, by
    name. It compiles with `tsc --strict`.

    `legacy_queries`: clients may also define queries themselves (`enableLegacyQueries`).

    Raises `InvalidDefinition` for relationships that `createSchema` would refuse.
    """
    relationships = relationships_by_table(definition)
    names = [table.name for table in definition.tables]
    all_queries: dict[str, NamedQuery | WrittenQuery] = {**(queries or {}), **written_queries(definition)}
    of_queries = typescript_queries(definition, all_queries) if all_queries else None
    constants = distinct(names, _constant_name)
    return "\n".join(
        [
            f"// The schema of the app {definition.app_id}, exported by Zero Sources for Django. Do not edit; export again.",
            "",
            _imports(definition, bool(relationships), of_queries.imports if of_queries else frozenset()),
            "",
            *(f"{_table(table, constants[table.name])}\n" for table in definition.tables),
            *(f"{_relationships(constants, name, relationships[name])}\n" for name in relationships),
            _schema(
                [constants[name] for name in names],
                [_of_relationships(constants[name]) for name in relationships],
                legacy_queries=legacy_queries,
            ),
            "",
            "export type Schema = typeof schema;",
            "",
            "// The type of a row of each table, as queries return it.",
            *(
                f'export type {row_type} = Row<Schema["tables"][{string(name)}]>;'
                for name, row_type in distinct(names, _row_type_name).items()
            ),
            "",
            "export const zql = createBuilder(schema);",
            "",
            *([of_queries.text] if of_queries else []),
        ]
    )


def _imports(definition: AppDefinition, has_relationships: bool, others: frozenset[str]) -> str:
    values = {"createBuilder", "createSchema", "table", "type Row"} | others
    values |= {column.type for table in definition.tables for column in table.columns}
    values |= {"relationships"} if has_relationships else set()
    lines = _lines(sorted(values, key=lambda name: (name.startswith("type "), name)), depth=1)
    return f'import {{\n{lines}}} from "@rocicorp/zero";'


def _table(table: Table, constant: str) -> str:
    columns = _lines((f"{key(column.name)}: {_column(column)}" for column in table.columns), depth=2)
    primary_key = ", ".join(string(name) for name in table.primary_key)
    calls = [
        f"table({string(table.name)})",
        *([f"{INDENT}.from({string(table.server_name)})"] if table.server_name != table.name else []),
        f"{INDENT}.columns({{\n{columns}{INDENT}}})",
        f"{INDENT}.primaryKey({primary_key});",
    ]
    return f"const {constant} = " + "\n".join(calls)


def _column(column: Column) -> str:
    optional = ".optional()" if column.optional else ""
    server_name = f".from({string(column.server_name)})" if column.server_name != column.name else ""
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
    return f"{key(relationship.name)}: {cardinality_of(relationship)}(\n{connections}{INDENT})"


def _connection(constants: Mapping[str, str], connection: Connection) -> str:
    source_fields = ", ".join(string(name) for name in connection.source_columns)
    dest_fields = ", ".join(string(name) for name in connection.destination_columns)
    dest_table = constants[connection.destination]
    return f"{{ sourceField: [{source_fields}], destField: [{dest_fields}], destSchema: {dest_table} }}"


def _schema(tables: Sequence[str], relationships: Sequence[str], *, legacy_queries: bool) -> str:
    members = [
        f"tables: [{', '.join(tables)}]",
        # Even if empty: otherwise its type would be one that @rocicorp/zero does not export (tsc
        # --declaration).
        f"relationships: [{', '.join(relationships)}]",
        *([LEGACY_QUERIES] if legacy_queries else []),
    ]
    return f"export const schema = createSchema({{\n{_lines(members, depth=1)}}});"


def _lines(items: Iterable[str], depth: int) -> str:
    return "".join(f"{INDENT * depth}{item},\n" for item in items)


def _constant_name(name: str) -> str:
    found = camel_case(name)
    return identifier(found[:1].lower() + found[1:] + "Table")


def _row_type_name(name: str) -> str:
    return type_name(name, ending="Row")


def _of_relationships(constant: str) -> str:
    return f"{constant}Relationships"
