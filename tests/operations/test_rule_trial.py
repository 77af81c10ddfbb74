"""rule_trial.py: claims as people give them, and what the rules of a draft say of rows."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from changesource.errors import InvalidClaims
from changesource.operations.rule_trial import claims_of_token, read_claims, try_rules
from tests.models.builders import build_app, build_table
from tests.simulation.sources import PlainDatabase, default_source
from zerosources.embedded.servers import MongoServer


@pytest.fixture
def database(mongo_server: MongoServer, settings: Any) -> Iterator[PlainDatabase]:
    with default_source(mongo_server, settings) as found:
        yield found


def token(payload: Any) -> str:
    """A JWT with a signature that nobody has made."""
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in (b"{}", payload, b"forged"))


@pytest.mark.parametrize("claims", [{"sub": "ada"}, {"sub": "à?>", "n": [1]}, {}])
def test_the_claims_of_a_token_are_read(claims: dict[str, Any]) -> None:
    """The claims of a token are its payload, whoever has signed it, of any length."""
    assert claims_of_token(token(json.dumps(claims).encode())) == claims


@pytest.mark.parametrize(
    "text", ["", "a.b", "a.b.c.d", "a.!!!.c", token(b"[1]"), token(b"\xff\xfe"), token(b"{"), "a.ä.c"]
)
def test_text_that_is_no_token_is_refused(text: str) -> None:
    """What is no JWT is refused, and nothing of it is in the message."""
    with pytest.raises(InvalidClaims) as caught:
        claims_of_token(text)
    assert not text or text not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "1", "{", '{"secret": NaN}', '{"secret": "\\u0000"}'])
def test_bad_claims_are_refused(text: str) -> None:
    """Claims are a JSON object; nothing of them is in the message."""
    with pytest.raises(InvalidClaims) as caught:
        read_claims(text)
    assert "secret" not in str(caught.value)


@pytest.mark.django_db
def test_each_rule_has_an_outcome(database: PlainDatabase) -> None:
    """Each row has what each rule says of it, and why it does not match."""
    app = build_app()
    rules = '{"select": [{"name": "$auth.sub"}, {"_id": "z"}]}'
    app.tables.update(permissions=rules)
    database.city.insert_many([{"_id": "a", "name": "ada"}, {"_id": "b", "name": "grace"}])
    answer = try_rules(app, "city", "select", {"sub": "ada"}, 10)
    assert [(json.loads(row["text"]), row["passes"]) for row in answer.items] == [
        ({"_id": "a", "name": "ada"}, True),
        ({"_id": "b", "name": "grace"}, False),
    ]
    assert [outcome["matches"] for outcome in answer.items[0]["outcomes"]] == [True, False]
    first = answer.items[1]["outcomes"][0]
    assert (first["place"], first["matches"]) == ("select[0]", False)
    assert "name is 'grace', $auth.sub is 'ada'" in first["reasons"][0]


@pytest.mark.django_db
def test_related_rows_are_found(database: PlainDatabase) -> None:
    """A rule may ask for rows of another table."""
    app = build_app()
    build_table(
        app,
        "visit",
        {"_id": {}, "cityId": {}},
        permissions='{"select": [{"$exists": {"relationship": "city", "where": {"name": "$auth.city"}}}]}',
    )
    connection = {"sourceField": ["cityId"], "destField": ["_id"], "destSchema": "city", "cardinality": "one"}
    app.relationships = {"visit": {"city": [connection]}}
    app.save()
    database.city.insert_many([{"_id": "b", "name": "Bern"}, {"_id": "g", "name": "Genf"}])
    database.visit.insert_many([{"_id": 1, "cityId": "b"}, {"_id": 2, "cityId": "g"}])
    answer = try_rules(app, "visit", "select", {"city": "Bern"}, 10)
    assert [row["passes"] for row in answer.items] == [True, False]
