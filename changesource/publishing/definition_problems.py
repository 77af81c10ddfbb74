"""Why an app must not be published as it is: each problem with its place and what to do about it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from changesource.mql import CompiledPipeline, MqlError, Shape, compile_pipeline, read_mapping_text
from changesource.protocol.requests import MAX_PUBLICATION_LENGTH, MAX_PUBLICATIONS, PUBLICATION_PATTERN
from changesource.queries.registry import find_path_conflict, path_conflict_message, registry
from changesource.queries.tracing import find_trace_problems
from changesource.queries.written import find_query_problems
from changesource.rules.checks import RuleScope, permission_problems
from changesource.tables.definition import (
    APP_ID_PATTERN,
    COLUMN_TYPES,
    IDENTIFIER_PATTERN,
    IDENTIFIER_RULE,
    MAX_ALL_TEXT_LENGTH,
    MAX_APP_ID_LENGTH,
    MAX_COLUMNS,
    MAX_FILTER_COLUMNS,
    MAX_IDENTIFIER_LENGTH,
    MAX_INDEX_COLUMNS,
    MAX_INDEXES,
    MAX_TABLES,
    MAX_TEXT_LENGTH,
    RESERVED_COLLECTION_PREFIX,
    RESERVED_COLUMNS,
    RESERVED_TABLE_PREFIXES,
    AppDefinition,
    Column,
    Table,
    shown_name,
    why_not_a_name,
)
from changesource.tables.relationships import read_relationships
from changesource.tables.values import FITTING_TYPES, TYPES_WITHOUT_VALUE

_Named = TypeVar("_Named", bound=Hashable)
_MakeProblem = Callable[..., "Problem"]
"""Takes an attribute, a message and, if the problem is in a column, its name."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a definition, where, and what to do about it.

    `table` and `column` are names; each is empty if the problem is not in one. `attribute` is the attribute of
    `AppDefinition`, `Table` or `Column` that has to change.
    """

    attribute: str
    message: str
    table: str = ""
    column: str = ""

    def __str__(self) -> str:
        place = ".".join(shown_name(part) for part in (self.table, self.column, self.attribute) if part)
        return f"{place}: {self.message}"


def find_problems(app: AppDefinition) -> list[Problem]:
    """All reasons why `app` must not be published, in the order of its tables; empty if it may be."""
    return list(_app_problems(app))


def _app_problems(app: AppDefinition) -> Iterator[Problem]:
    if too_large := list(_app_size_problems(app)):
        yield from too_large  # and nothing else: looking would take too long
        return
    if not APP_ID_PATTERN.fullmatch(app.app_id):
        yield Problem("app_id", "Use lower case letters, digits and underscores only; it must equal ZERO_APP_ID.")
    if len(app.app_id) > MAX_APP_ID_LENGTH:
        yield Problem("app_id", f"Use at most {MAX_APP_ID_LENGTH} characters; zero-cache makes longer names of it.")
    if not app.tables:
        yield Problem("tables", "Add at least one table.")
    for name in _repeated(table.name for table in app.tables):
        yield Problem("name", "Another table has this name. Rename one of them.", table=name)
    for name in _repeated(table.server_name.lower() for table in app.tables):  # SQLite folds case
        table_name = next(table.name for table in app.tables if table.server_name.lower() == name)
        yield Problem("server_name", f"Another table has the server name {name!r}. Change one.", table=table_name)
    for table in app.tables:
        yield from find_table_problems(table)
    for found in read_relationships(app).problems:
        yield Problem("relationships", f"{'.'.join(map(shown_name, found.place))}: {found.message}", table=found.table)
    scope = RuleScope(app)
    for table in app.tables:
        for problem in permission_problems(scope, table):
            yield Problem("permissions", str(problem), table=table.name)
    for message in find_publication_problems(app.publications, {table.name for table in app.tables}):
        yield Problem("publications", message)
    for query_problem in find_query_problems(app):
        yield Problem("queries", str(query_problem))
    if isinstance(app.queries, Mapping):
        conflict = find_path_conflict([*app.queries, *registry.of_app(app.app_id)])
        if conflict is not None:
            yield Problem("queries", path_conflict_message(*conflict))
    for message in find_trace_problems(app, registry):
        yield Problem("queries", message)


def _app_size_problems(app: AppDefinition) -> Iterator[Problem]:
    if len(app.tables) > MAX_TABLES:
        yield Problem("tables", f"An app has at most {MAX_TABLES:,} tables. Split it into several apps.")
    of_tables = [problem for table in app.tables for problem in _table_size_problems(table)]
    yield from of_tables
    texts = [table.mapping for table in app.tables] + [table.permissions for table in app.tables]
    texts += [json.dumps(app.relationships), json.dumps(app.publications), json.dumps(app.queries)]
    if sum(map(len, texts)) > MAX_ALL_TEXT_LENGTH and not of_tables:
        yield Problem(
            "tables",
            f"The mappings, permissions, relationships, publications and queries of an app have at most "
            f"{MAX_ALL_TEXT_LENGTH:,} characters together. Shorten them, or split the app into several.",
        )


def _table_size_problems(table: Table) -> Iterator[Problem]:
    if len(table.columns) > MAX_COLUMNS:
        yield Problem("name", f"A table has at most {MAX_COLUMNS:,} columns. Take some out.", table=table.name)
    for attribute in ("mapping", "permissions"):
        if len(getattr(table, attribute)) > MAX_TEXT_LENGTH:
            yield Problem(attribute, f"Use at most {MAX_TEXT_LENGTH:,} characters.", table=table.name)


def find_table_problems(table: Table) -> Iterator[Problem]:
    """The reasons why `table` must not be published, as far as they lie in the table itself."""
    if too_large := list(_table_size_problems(table)):
        yield from too_large
        return

    def problem(attribute: str, message: str, column: str = "") -> Problem:
        return Problem(attribute, message, table=table.name, column=column)

    for attribute, name in (("name", table.name), ("server_name", table.server_name)):
        if reason := _why_not_identifier(name):
            yield problem(attribute, reason)
    if table.server_name.lower().startswith(RESERVED_TABLE_PREFIXES):
        yield problem("server_name", "Names that begin with _zero, sqlite_ or __proto__ are reserved. Choose another.")
    if reason := _why_not_collection(table.collection):
        yield problem("collection", reason)
    yield from _repeated_column_problems(table, problem)
    for column in table.columns:
        yield from _column_problems(column, problem)
    yield from _primary_key_problems(table, problem)
    yield from _filter_column_problems(table, problem)
    yield from _index_problems(table, problem)
    yield from _mapping_problems(table, problem)


def _why_not_collection(name: str) -> str:
    if not name or "\0" in name or "$" in name:
        return "Name an existing collection; a name has no $ and no NUL."
    if reason := why_not_a_name(name):
        return reason
    if name.startswith(RESERVED_COLLECTION_PREFIX):
        return (
            f"Collections that begin with {RESERVED_COLLECTION_PREFIX} belong to the change source itself. Choose another "
            "collection."
        )
    if name.startswith("system."):
        return "MongoDB's system collections have no change stream. Choose another collection."
    return ""


def _repeated_column_problems(table: Table, problem: _MakeProblem) -> Iterator[Problem]:
    for name in _repeated(column.name for column in table.columns):
        yield problem("name", "Another column of this table has this name. Rename one of them.", column=name)
    for name in _repeated(column.server_name.lower() for column in table.columns):
        column_name = next(column.name for column in table.columns if column.server_name.lower() == name)
        yield problem("server_name", "Another column of this table has this server name. Change one.", column_name)


def _column_problems(column: Column, problem: _MakeProblem) -> Iterator[Problem]:
    for attribute, name in (("name", column.name), ("server_name", column.server_name)):
        if reason := _why_not_identifier(name):
            yield problem(attribute, reason, column.name)
    if column.server_name.lower() in RESERVED_COLUMNS:
        yield problem("server_name", "zero-cache keeps this name for itself. Choose another.", column.name)
    if column.type not in COLUMN_TYPES:
        yield problem("type", f"Choose one of {', '.join(COLUMN_TYPES)}.", column.name)
    if reason := _why_not_field(column.field):
        yield problem("field", reason, column.name)


def _why_not_field(name: str) -> str:
    if not name or "\0" in name:
        return "Name a field of the document."
    if reason := why_not_a_name(name):
        return f'{reason} Give the field another name in the mapping: {{"projection": {{"name": "$field"}}}}.'
    if "." in name or name.startswith("$"):
        return (
            "A column shows a top-level field: no dot inside, no $ in front. Lift a nested one with the mapping: "
            '{"projection": {"name": "$path.to.field"}}.'
        )
    return ""


def find_publication_problems(publications: object, tables: Collection[str]) -> Iterator[str]:
    """What is wrong with the publications of an app that has `tables`, each message with its place."""
    if not isinstance(publications, Mapping):
        yield 'Write an object with a list of tables for each name: {"mobile": ["order", "item"]}.'
        return
    if len(publications) > MAX_PUBLICATIONS:
        yield f"An app has at most {MAX_PUBLICATIONS} publications. Take some out."
    for name, group in publications.items():
        shown = shown_name(name[:MAX_PUBLICATION_LENGTH])
        if len(name) > MAX_PUBLICATION_LENGTH:
            yield f"{shown}…: Use at most {MAX_PUBLICATION_LENGTH} characters."
        elif not PUBLICATION_PATTERN.fullmatch(name):
            yield (
                f"{shown}: A name consists of letters, digits, underscores and hyphens, and does not begin with an "
                "underscore: Zero keeps such names for itself."
            )
        for message in _group_problems(group, tables):
            yield f"{shown}: {message}"


def find_warnings(table: Table) -> Iterator[Problem]:
    """What can be published of `table` but is hardly intended: optional columns of fields that the mapping never gives."""
    try:
        shape = compile_pipeline(read_mapping_text(table.mapping)).shape()
    except MqlError:
        return
    for column in table.columns:
        if column.optional and not shape.has(column.field):
            yield Problem("field", f"This column is always null. {_not_given(column)}", table.name, column.name)


def _not_given(column: Column) -> str:
    return f"The mapping gives no field {column.field!r}. Add it to the mapping, or take the column out."


def _primary_key_problems(table: Table, problem: _MakeProblem) -> Iterator[Problem]:
    columns = {column.name: column for column in table.columns}
    if not table.primary_key:
        yield problem("primary_key", "Every Zero table has a primary key. Name the column of _id.")
        return
    for name in _repeated(table.primary_key):
        yield problem("primary_key", f"The column {name!r} is listed twice. Name it once.")
    for name in dict.fromkeys(table.primary_key):
        column = columns.get(name)
        if column is None:
            yield problem("primary_key", f"There is no column {name!r}. Name columns of this table.")
            continue
        if column.optional:
            yield problem("optional", "A column of the primary key is never null. Make it required.", name)
        if column.type == "json":
            yield problem("type", "A json column cannot be in a primary key. Use string, number or boolean.", name)


def _filter_column_problems(table: Table, problem: _MakeProblem) -> Iterator[Problem]:
    columns = {column.name: column for column in table.columns}
    if len(table.filter_columns) > MAX_FILTER_COLUMNS:
        yield problem("filter_columns", f"A table has at most {MAX_FILTER_COLUMNS} filter columns. Take some out.")
    for name in _repeated(table.filter_columns):
        yield problem("filter_columns", f"The column {name!r} is listed twice. Name it once.")
    for name in dict.fromkeys(table.filter_columns):
        if name not in columns:
            yield problem("filter_columns", f"There is no column {name!r}. Name columns of this table.")
        elif columns[name].type == "json":
            yield problem(
                "filter_columns",
                f"The column {name!r} is json, about which row filters cannot ask. Add a column with only the value that "
                "they need.",
            )


def _index_problems(table: Table, problem: _MakeProblem) -> Iterator[Problem]:
    columns = {column.name: column for column in table.columns}
    if len(table.indexes) > MAX_INDEXES:
        yield problem("indexes", f"A table has at most {MAX_INDEXES} indexes. Take some out.")
    for index in _repeated(table.indexes):
        yield problem("indexes", f"The index on {_listed(index)} is listed twice. Name it once.")
    for index in dict.fromkeys(table.indexes):
        if not index:
            yield problem("indexes", "An index has at least one column. Name columns of this table.")
        elif index == table.primary_key:
            yield problem("indexes", "The primary key has an index already. Take this one out.")
        if len(index) > MAX_INDEX_COLUMNS:
            yield problem("indexes", f"An index has at most {MAX_INDEX_COLUMNS} columns. Take some out.")
        for name in _repeated(index):
            yield problem("indexes", f"The column {name!r} is listed twice in one index. Name it once.")
        for name in dict.fromkeys(index):
            if name not in columns:
                yield problem("indexes", f"There is no column {name!r}. Name columns of this table.")
            elif columns[name].type == "json":
                yield problem(
                    "indexes",
                    f"The column {name!r} is json, and no query can look for such a value. Add a column with only the "
                    "value that queries look for.",
                )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(shown_name, names))


def _group_problems(group: object, tables: Collection[str]) -> Iterator[str]:
    if not isinstance(group, list | tuple) or not all(isinstance(name, str) for name in group):
        yield "Write a list of names of tables."
        return
    if not group:
        yield "Name at least one table, or take the publication out."
    for name in _repeated(group):
        yield f"The table {name!r} is listed twice. Name it once."
    for name in dict.fromkeys(group):
        if name not in tables:
            yield f"There is no table {name!r}. Name tables of this app, as queries do."


def _mapping_problems(table: Table, problem: _MakeProblem) -> Iterator[Problem]:
    try:
        specification = read_mapping_text(table.mapping)
        mapping = compile_pipeline(specification)
    except MqlError as error:
        yield problem("mapping", error.reason)
        return
    if "source" in specification:
        yield problem("mapping", "source: The collection is named beside the mapping, and not in it. Remove this.")
    shape = mapping.shape()
    for column in table.columns:
        yield from _type_problems(column, shape, problem)
    fields = frozenset(column.field for column in table.columns if column.name in table.primary_key)
    if fields and _is_same_for_all(mapping, fields):
        yield problem(
            "primary_key",
            "The mapping gives the same primary key for all documents, so that they would be one row. Make it depend on _id.",
        )


def _type_problems(column: Column, shape: Shape, problem: _MakeProblem) -> Iterator[Problem]:
    types = shape.types(column.field)
    if types is None or column.type not in FITTING_TYPES:
        return
    if not shape.has(column.field):
        if not column.optional:
            yield problem("field", _not_given(column), column.name)
    elif not types - TYPES_WITHOUT_VALUE:
        if not column.optional:
            yield problem("optional", "The mapping gives only null here. Make the column optional.", column.name)
    elif not types & FITTING_TYPES[column.type]:
        found = ", ".join(sorted(types - TYPES_WITHOUT_VALUE))
        yield problem(
            "type",
            f"The mapping gives {found} here, which never fits a {column.type} column. Change the type, or convert the "
            "value in the mapping.",
            column.name,
        )


def _is_same_for_all(mapping: CompiledPipeline, fields: frozenset[str]) -> bool:
    return not mapping.splits and not mapping.without_filters(fields)[1]


def _why_not_identifier(name: str) -> str:
    if not IDENTIFIER_PATTERN.fullmatch(name):
        return IDENTIFIER_RULE
    if len(name) > MAX_IDENTIFIER_LENGTH:
        return f"Use at most {MAX_IDENTIFIER_LENGTH} characters."
    return ""


def _repeated(names: Iterable[_Named]) -> list[_Named]:
    return [name for name, count in Counter(names).items() if count > 1]
