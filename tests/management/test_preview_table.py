"""`preview_table`, on a MongoDB server."""

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from changesource.models import App
from tests.models.builders import build_app, build_table
from tests.simulation.sources import PlainDatabase

pytestmark = pytest.mark.django_db


@pytest.fixture
def app(source_database: PlainDatabase) -> App:
    app = build_app()
    columns = {"_id": {}, "tags": {"type": "json", "optional": True}, "size": {"type": "number", "optional": True}}
    build_table(app, "place", columns, mapping='{"filter": {"open": true}}')
    source_database.place.insert_many(
        [{"_id": 1, "open": True, "tags": ["ä"], "size": "large"}, {"_id": 2, "open": False}, {"_id": 3, "open": True}]
    )
    return app


def run(*arguments: str) -> tuple[list[str], str]:
    """The lines on stdout, and what stands on stderr."""
    output, errors = StringIO(), StringIO()
    call_command("preview_table", *arguments, stdout=output, stderr=errors, no_color=True)
    return output.getvalue().splitlines(), errors.getvalue()


def test_the_json_is_one_object_a_line(app: App) -> None:
    """With these keys and no others."""
    lines, _ = run("shop", "place", "--json", "--limit", "2")
    assert [json.loads(line) for line in lines] == [
        {
            "document": {"_id": 1, "open": True, "tags": ["ä"], "size": "large"},
            "rows": [{"_id": "1", "tags": ["ä"], "size": None}],
            "errors": [
                {
                    "table": "place",
                    "documentId": "1",
                    "column": "size",
                    "reason": "a BSON string does not fit a number column; use a string or json column",
                }
            ],
        },
        {"document": {"_id": 2, "open": False}, "rows": [], "errors": []},
    ]


def test_documents_rows_and_row_errors_are_printed_below_each_other(app: App) -> None:
    lines, _ = run("shop", "place")
    assert lines == [
        'document {"_id": 1, "open": true, "tags": ["ä"], "size": "large"}',
        '  row {"_id": "1", "tags": ["ä"], "size": null}',
        "  row error: size: a BSON string does not fit a number column; use a string or json column",
        'document {"_id": 2, "open": false}',
        "  no row",
        'document {"_id": 3, "open": true}',
        '  row {"_id": "3", "tags": null, "size": null}',
    ]


def test_an_empty_collection_is_reported_to_people_only(app: App) -> None:
    """It is no line of JSON."""
    assert run("shop", "city")[0] == ["The collection city has no documents."]
    assert run("shop", "city", "--json")[0] == []


def test_a_column_that_is_always_null_is_warned_of_on_stderr(app: App) -> None:
    app.tables.filter(name="place").update(mapping='{"projection": {"tags": 1}}')
    lines, warnings = run("shop", "place", "--json")
    assert len(lines) == 3
    assert warnings.startswith("place.size.field: This column is always null.")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("nope", "city"), "There is no app 'nope'"),
        (("\ud800", "city"), "There is no app"),
        (("shop", "nope"), "CS201: shop has no table 'nope'. There are city, place"),
        (("shop", "city", "--limit", "0"), "from 1 to"),
        (("shop", "city", "--limit", "many"), "from 1 to"),
    ],
)
def test_what_cannot_be_shown_is_refused_with_the_reason(app: App, arguments: tuple[str, ...], reason: str) -> None:
    with pytest.raises(CommandError) as refused:
        run(*arguments)
    assert reason in str(refused.value)


def test_every_problem_of_an_invalid_draft_is_listed(app: App) -> None:
    app.tables.update(mapping="{")
    with pytest.raises(CommandError, match=r"CS201: (?s:.*)city\.mapping: (?s:.*)place\.mapping: "):
        run("shop", "city")


def test_a_source_without_a_uri_is_refused(app: App, settings) -> None:
    settings.CHANGESOURCE_SOURCES = {}
    with pytest.raises(CommandError, match="CS101"):
        run("shop", "city")
