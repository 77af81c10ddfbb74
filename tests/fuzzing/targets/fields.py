"""What people type into the fields of admin that hold JSON, names and numbers. The first byte chooses the field."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import django
from django.core.exceptions import ValidationError

django.setup()

from changesource.errors import InvalidSchemaFile  # noqa: E402 (models load after Django is set up)
from changesource.models import App, Client, Credential, Grant  # noqa: E402
from changesource.models import Table as TableDraft  # noqa: E402
from changesource.mql import StrictJSONDecoder  # noqa: E402
from changesource.publishing.definition_problems import find_problems  # noqa: E402
from changesource.publishing.schema_file import read_schema  # noqa: E402
from changesource.tables.definition import AppDefinition, Column, Table  # noqa: E402
from changesource.tables.relationships import read_relationships  # noqa: E402
from tests.fuzzing.bounds import in_time  # noqa: E402

MAX_SHARD = 999_999_999
TABLES = (Table("issue", (Column("_id", "string"), Column("owner", "string", optional=True)), ("_id",)),)


def check(data: bytes) -> None:
    """A field takes what can be stored and used, and refuses everything else with `ValidationError`."""
    checks = (check_json, check_shards, check_row_filters, check_name, check_schema_file)
    with in_time():
        checks[data[0] % len(checks) if data else 0](data[1:])


def check_json(data: bytes) -> None:
    """JSON that is read can be written for every database; relationships and publications of any form have an answer."""
    try:
        value = json.loads(data.decode(errors="surrogateescape"), cls=StrictJSONDecoder)
    except json.JSONDecodeError:
        return
    written = json.dumps(value, ensure_ascii=False, allow_nan=False)
    assert "\0" not in written
    assert json.loads(written.encode()) == value
    for field in (App.publications, App.relationships, Client.attributes, Grant.tables, TableDraft.primary_key):
        is_accepted(field.field.run_validators, value)
    if isinstance(value, dict):
        definition = AppDefinition("shop", "default", TABLES, value, value)
        read_relationships(definition)
        assert all(str(problem) for problem in find_problems(definition))


def check_shards(data: bytes) -> None:
    """What a grant's shards may say is numbers."""
    grant = Grant(shards=data.decode(errors="surrogateescape"))
    if is_accepted(Grant._meta.get_field("shards").run_validators, grant.shards):
        assert all(0 <= number <= MAX_SHARD for number in grant.shard_numbers())


def check_row_filters(data: bytes) -> None:
    """Row filters that a grant takes are a JSON object."""
    is_accepted(Grant._meta.get_field("row_filters").run_validators, data.decode(errors="surrogateescape"))


def check_name(data: bytes) -> None:
    """A name that is taken can be written in UTF-8 and in one line of a log."""
    name = data.decode(errors="surrogateescape")
    for validators in NAME_FIELDS.values():
        if is_accepted(validators, name):
            assert name.encode().count(b"\n") == 0
            assert name.isprintable()
            assert name == name.strip()


def check_schema_file(data: bytes) -> None:
    """A schema file is read or refused."""
    try:
        schema = read_schema(data)
    except InvalidSchemaFile as error:
        assert str(error)
        return
    definition = AppDefinition("shop", "default", schema.tables, schema.relationships)
    assert all(str(problem) for problem in find_problems(definition))


NAME_FIELDS: Mapping[str, Callable[[str], None]] = {
    "app_id": App._meta.get_field("app_id").run_validators,
    "source": App._meta.get_field("source").run_validators,
    "client": Client._meta.get_field("name").run_validators,
    "label": Credential._meta.get_field("label").run_validators,
}


def is_accepted(run_validators: Callable[[object], None], value: object) -> bool:
    try:
        run_validators(value)
    except ValidationError as error:
        assert error.messages
        return False
    return True
