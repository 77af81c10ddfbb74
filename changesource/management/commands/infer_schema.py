"""`manage.py infer_schema COLLECTION [--app APP | --source SOURCE] [--sample N]`."""

import asyncio
import json
from argparse import ArgumentTypeError
from dataclasses import dataclass
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from pymongo.errors import PyMongoError

from changesource.conf import load_settings
from changesource.errors import ChangeSourceError, SourceUnusable
from changesource.models import App
from changesource.models.app import DEFAULT_SOURCE
from changesource.mongo.faults import explain
from changesource.mongo.source import Sources
from changesource.publishing.inference import propose_table

DEFAULT_SAMPLE = 1_000


class Command(BaseCommand):
    help = (
        "Proposes a table for a collection, from its $jsonSchema validator and sampled documents, "
        "as a schema in Zero's JSON form, which load_schema reads. Doubts are written to stderr."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("collection", metavar="COLLECTION")
        source = parser.add_mutually_exclusive_group()
        source.add_argument("--app", help="look in the database of this app")
        source.add_argument("--source", default=DEFAULT_SOURCE, help="look in this source (default: %(default)s)")
        parser.add_argument(
            "--sample",
            type=_positive,
            default=DEFAULT_SAMPLE,
            metavar="N",
            help="how many documents to look at (default: %(default)s)",
        )

    def handle(self, *args: Any, collection: str, app: str | None, source: str, sample: int, **options: Any) -> None:
        try:
            found = asyncio.run(_look_at(source if app is None else _source_of(app), collection, sample))
        except ChangeSourceError as exc:
            raise CommandError(str(exc)) from exc
        proposal = propose_table(collection, found.validator, found.documents)
        for warning in proposal.warnings:
            self.stderr.write(self.style.WARNING(warning))
        schema = {"tables": {collection: proposal.table}, "relationships": {}}
        self.stdout.write(json.dumps(schema, indent=2, ensure_ascii=False))


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise ArgumentTypeError("a number of documents, 1 or more")
    return int(text)


def _source_of(app_id: str) -> str:
    app = App.objects.find(app_id)
    if app is None:
        raise CommandError(f"There is no app {app_id!r}. Create it in admin or by load_schema, or use --source.")
    return app.source


@dataclass(frozen=True, slots=True)
class _Collection:
    """What MongoDB has of a collection. `validator` is the option of that name."""

    validator: dict[str, Any]
    documents: list[dict[str, Any]]


async def _look_at(source: str, collection: str, sample: int) -> _Collection:
    sources = Sources(load_settings().sources)
    try:
        database = sources.database(source)
        listed = await (await database.list_collections(filter={"name": collection})).to_list()
        if not listed:
            raise SourceUnusable(f"The database of the source {source!r} has no collection {collection!r}.")
        if listed[0].get("type", "collection") != "collection":
            raise SourceUnusable(f"{collection!r} is a {listed[0]['type']}, which has no change stream.")
        documents = await (await database[collection].aggregate([{"$sample": {"size": sample}}])).to_list()
    except PyMongoError as exc:
        raise explain(exc) from exc
    finally:
        await sources.close()
    return _Collection(listed[0].get("options", {}).get("validator", {}), documents)
