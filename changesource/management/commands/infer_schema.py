"""`manage.py infer_schema COLLECTION [--app APP | --source SOURCE] [--sample N]`."""

import json
from argparse import ArgumentTypeError
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import PyMongoError

from changesource.conf import DEFAULT_SOURCE, load_settings
from changesource.errors import ChangeSourceError, SourceUnusable, UnknownSource
from changesource.management.arguments import document_count, named_app
from changesource.mongo.decoding import decode_batch
from changesource.mongo.faults import as_source_error
from changesource.mongo.source import APP_NAME, SERVER_SELECTION_TIMEOUT_MS, uri_of
from changesource.publishing.inference import propose_table
from changesource.tables.definition import why_not_a_name
from changesource.tables.values import CODEC_OPTIONS

DEFAULT_SAMPLE = 1_000
MAX_SAMPLE = 1_000_000
"""The sample is held in memory."""


class Command(BaseCommand):
    help = (
        "Proposes a table for a collection, from its $jsonSchema validator, sampled documents and indexes, "
        "as a schema in Zero's JSON form, which load_schema reads. Warnings go to stderr."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("collection", type=_printable, metavar="COLLECTION")
        source = parser.add_mutually_exclusive_group()
        source.add_argument("--app", help="read the database of this app")
        source.add_argument("--source", default=DEFAULT_SOURCE, help="read this source (default: %(default)s)")
        parser.add_argument(
            "--sample",
            type=document_count(MAX_SAMPLE),
            default=DEFAULT_SAMPLE,
            metavar="N",
            help="how many documents to sample (default: %(default)s)",
        )

    def handle(self, *args: Any, collection: str, app: str | None, source: str, sample: int, **options: Any) -> None:
        try:
            found = _look_at(source if app is None else named_app(app, ", or use --source").source, collection, sample)
        except ChangeSourceError as exc:
            raise CommandError(str(exc)) from exc
        proposal = propose_table(collection, found.validator, found.documents, found.indexes)
        for warning in proposal.warnings:
            self.stderr.write(self.style.WARNING(warning))
        schema = {"tables": {proposal.table["name"]: proposal.table}, "relationships": {}}
        self.stdout.write(json.dumps(schema, indent=2, ensure_ascii=False))


def _printable(text: str) -> str:
    if why_not_a_name(text):
        raise ArgumentTypeError("a name in printable characters, without spaces around it")
    return text


@dataclass(frozen=True, slots=True)
class _Collection:
    """A collection in MongoDB. `validator` is the option of that name, `indexes` is what
    `listIndexes` returns."""

    validator: dict[str, Any]
    documents: list[dict[str, Any]]
    indexes: Sequence[Mapping[str, Any]]


def _look_at(source: str, collection: str, sample: int) -> _Collection:
    with _connect(source) as client:
        try:
            return _read(client.get_default_database(codec_options=CODEC_OPTIONS), collection, sample)
        except PyMongoError as exc:
            raise as_source_error(exc) from exc


def _connect(source: str) -> MongoClient[dict[str, Any]]:
    uri = uri_of(source, load_settings().sources)
    try:
        client: MongoClient[dict[str, Any]] = MongoClient(
            uri, connect=False, appname=APP_NAME, serverSelectionTimeoutMS=SERVER_SELECTION_TIMEOUT_MS
        )
        client.get_default_database()
    except (PyMongoError, ValueError, OSError) as exc:
        raise UnknownSource(
            f"The URI of the source {source!r} cannot be used. `manage.py check` says what is wrong."
        ) from exc
    return client


def _read(database: Database[dict[str, Any]], collection: str, sample: int) -> _Collection:
    listed = list(database.list_collections(filter={"name": collection}))
    if not listed:
        raise SourceUnusable(f"The database {database.name!r} has no collection {collection!r}.")
    if (kind := listed[0].get("type", "collection")) != "collection":
        raise SourceUnusable(f"{collection!r} is a {kind}, which has no change stream.")
    # These are bytes, whatever PyMongo's annotation says.
    batches: Iterable[Any] = database[collection].aggregate_raw_batches([{"$sample": {"size": sample}}])
    documents = [document for batch in batches for document in decode_batch(batch)]
    indexes = list(database[collection].list_indexes())
    return _Collection(listed[0].get("options", {}).get("validator", {}), documents, indexes)
