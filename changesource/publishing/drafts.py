"""Filling the draft of an app with a whole schema at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from django.core.exceptions import ValidationError
from django.db import transaction

from changesource.errors import InvalidDefinition
from changesource.models import App, Column, Table, Version
from changesource.models.app import DEFAULT_SOURCE
from changesource.models.draft import draft_definition
from changesource.publishing.definition_problems import find_problems
from changesource.publishing.schema_file import Schema
from changesource.tables import definition


def replace_draft(app_id: str, schema: Schema, source: str = "") -> App:
    """Put the tables and relationships of `schema` in place of the draft of the app, which is created when missing.

    An app keeps its source when `source` is empty, and its publications, filter columns and indexes where `schema` says
    nothing of them; a new one gets `default`. Nothing changes on an error.
    Raises `InvalidDefinition` with every reason why such a draft could not be published.
    """
    relationships = dict(schema.relationships)
    publications = None if schema.publications is None else dict(schema.publications)
    _check_fields(
        App(
            app_id=app_id,
            source=source or DEFAULT_SOURCE,
            relationships=relationships,
            publications=publications or {},
        )
    )
    with transaction.atomic():
        stored, _ = App.objects.get_or_create(app_id=app_id)
        app = App.objects.locked(stored.pk)
        app.source = source or app.source
        app.relationships = relationships
        app.publications = app.publications if publications is None else publications
        app.save()
        tables = list(_with_what_is_kept(schema, draft_definition(app)))
        app.tables.all().delete()
        for position, table in enumerate(tables):
            _create_table(app, position, table)
        if problems := find_problems(draft_definition(app)):
            raise InvalidDefinition("\n".join([f"The schema does not fit {app}.", *map(str, problems)]))
    return app


def replace_draft_by_version(version: Version) -> App:
    """Put what `version` says in place of the draft of its app. Nothing is published.

    Raises `InvalidDefinition` where that could not be published any more; the draft is then as it was.
    """
    definition = version.to_definition()
    names = frozenset(table.name for table in definition.tables)
    schema = Schema(
        definition.tables,
        definition.relationships,
        definition.publications,
        without_filter_columns=names,
        without_indexes=names,
    )
    return replace_draft(definition.app_id, schema, definition.source)


def _with_what_is_kept(schema: Schema, draft: definition.AppDefinition) -> Iterator[definition.Table]:
    """The tables of `schema`, with what they keep of those of `draft` where it can still be."""
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
