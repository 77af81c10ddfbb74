"""Replacing the draft of an app by a whole schema."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from django.core.exceptions import ValidationError
from django.db import transaction

from changesource.conf import DEFAULT_SOURCE
from changesource.errors import InvalidDefinition
from changesource.models import App, Column, Table, Version
from changesource.models.draft import draft_definition
from changesource.publishing.release import Release
from changesource.publishing.schema_file import Schema
from changesource.tables import definition


def replace_draft(app_id: str, schema: Schema, source: str = "") -> App:
    """Replaces the draft of the app by the tables and relationships of `schema`. The app is created
    if it does not exist.

    An app keeps its source if `source` is empty, and its publications, queries, filter columns and
    indexes where `schema` does not mention them; a new app gets the source `default`. On an error nothing
    changes. Raises `InvalidDefinition` with every reason why the new draft could not be published.
    """
    relationships = dict(schema.relationships)
    publications = None if schema.publications is None else dict(schema.publications)
    named_queries = None if schema.queries is None else dict(schema.queries)
    _check_fields(
        App(
            app_id=app_id,
            source=source or DEFAULT_SOURCE,
            relationships=relationships,
            publications=publications or {},
            queries=named_queries or {},
        )
    )
    with transaction.atomic():
        stored, _ = App.objects.get_or_create(app_id=app_id)
        app = App.objects.locked(stored.pk)
        app.source = source or app.source
        app.relationships = relationships
        app.publications = app.publications if publications is None else publications
        app.queries = app.queries if named_queries is None else named_queries
        app.save()
        tables = list(_with_what_is_kept(schema, draft_definition(app)))
        app.tables.all().delete()
        for position, table in enumerate(tables):
            _create_table(app, position, table)
        Release.of_draft(app).refuse_problems(f"The schema cannot be the draft of {app}.")
    return app


def replace_draft_by_version(version: Version) -> App:
    """Replaces the draft of the app by `version`. Nothing is published.

    Raises `InvalidDefinition` if the version could no longer be published; the draft is then
    unchanged.
    """
    definition = version.to_definition()
    names = frozenset(table.name for table in definition.tables)
    schema = Schema(
        definition.tables,
        definition.relationships,
        definition.publications,
        definition.queries,
        without_filter_columns=names,
        without_indexes=names,
    )
    return replace_draft(definition.app_id, schema, definition.source)


def _with_what_is_kept(schema: Schema, draft: definition.AppDefinition) -> Iterator[definition.Table]:
    """The tables of `schema`, with the filter columns and indexes of `draft` that they keep and can
    still have."""
    before = {table.name: table for table in draft.tables}
    for table in schema.tables:
        if (earlier := before.get(table.name)) is not None:
            possible = {column.name for column in table.columns if column.type != "json"}
            if not table.filter_columns and table.name not in schema.without_filter_columns:
                kept = tuple(name for name in earlier.filter_columns if name in possible)
                table = replace(table, filter_columns=kept)
            if not table.indexes and table.name not in schema.without_indexes:
                indexes = tuple(
                    index for index in earlier.indexes if possible.issuperset(index) and index != table.primary_key
                )
                table = replace(table, indexes=indexes)
        yield table


def _check_fields(app: App) -> None:
    try:
        app.clean_fields()
    except ValidationError as exc:
        problems = (f"{field}: {message}" for field, messages in exc.message_dict.items() for message in messages)
        raise InvalidDefinition("\n".join([f"The app {app.app_id!r} cannot be stored.", *problems])) from exc


def _create_table(app: App, position: int, table: definition.Table) -> None:
    stored = Table.objects.create(
        app=app,
        name=table.name,
        server_name="" if table.server_name == table.name else table.server_name,
        collection="" if table.collection == table.server_name else table.collection,
        mapping=table.mapping,
        permissions=table.permissions,
        primary_key=list(table.primary_key),
        filter_columns=list(table.filter_columns),
        indexes=[list(index) for index in table.indexes],
        position=position,
    )
    Column.objects.bulk_create(
        Column(
            table=stored,
            name=column.name,
            server_name="" if column.server_name == column.name else column.server_name,
            field="" if column.field == column.server_name else column.field,
            type=column.type,
            optional=column.optional,
            position=column_position,
        )
        for column_position, column in enumerate(table.columns)
    )
