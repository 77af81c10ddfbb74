"""The preview of a table: its first documents with their rows."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client as Browser

from changesource.models import App, Table
from changesource.trials import process
from tests.admin.pages import url
from tests.simulation.sources import PlainDatabase, default_source
from zerosources.embedded.servers import MongoServer


@pytest.fixture
def database(mongo_server: MongoServer, settings: Any) -> Iterator[PlainDatabase]:
    with default_source(mongo_server, settings) as found:
        yield found


@pytest.fixture
def table(app: App) -> Table:
    return app.tables.get()


def staff(*permissions: str) -> Browser:
    user = User.objects.create_user("grace", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    browser = Browser()
    browser.force_login(user)
    return browser


def test_the_page_of_a_table_links_to_its_preview(browser, table: Table) -> None:
    """The page of a table leads there; that of a new one does not."""
    assert url("table_preview", table.pk) in browser.get(url("table_change", table.pk)).content.decode()
    assert "preview" not in browser.get(url("table_add")).content.decode()


def test_documents_are_shown_beside_their_rows(browser, database: PlainDatabase, table: Table) -> None:
    """Documents stand beside their rows and what does not fit, as text."""
    table.columns.filter(name="name").update(type="number")
    database.city.insert_many([{"_id": "one", "name": "<b>"}, {"_id": "two", "name": 5.5}])
    text = browser.get(url("table_preview", table.pk)).content.decode()
    assert "&quot;name&quot;: &quot;&lt;b&gt;&quot;" in text
    assert "<td>one</td><td>null</td>" in text
    assert "<td>two</td><td>5.5</td>" in text
    assert "name: a BSON string does not fit a number column" in text


def test_a_document_without_a_row_is_shown(browser, database: PlainDatabase, table: Table) -> None:
    """A document that the mapping leaves out is shown with no row, and a column that is always null is warned of."""
    Table.objects.update(mapping='{"filter": {"a": 1}, "projection": {"_id": 1}}')
    database.city.insert_one({"_id": 1})
    text = browser.get(url("table_preview", table.pk)).content.decode()
    assert "No row." in text
    assert "name: This column is always null." in text


def test_an_empty_collection_is_reported(browser, database: PlainDatabase, table: Table) -> None:
    """That there is nothing is said."""
    assert "has no documents" in browser.get(url("table_preview", table.pk)).content.decode()


@pytest.mark.parametrize(("mapping", "message"), [("{", "city.mapping: This is not JSON"), ("", "CS101")])
def test_a_failure_is_reported(browser, settings, table: Table, mapping: str, message: str) -> None:
    """Why there is nothing to show is said on the page."""
    settings.CHANGESOURCE_SOURCES = {}
    Table.objects.update(mapping=mapping)
    response = browser.get(url("table_preview", table.pk))
    assert response.status_code == 200
    assert message in response.content.decode()


@pytest.mark.parametrize(("permission", "status"), [("view_table", 200), ("change_table", 200), ("view_app", 403)])
def test_viewing_a_table_is_enough(database: PlainDatabase, table: Table, permission: str, status: int) -> None:
    """Who may view the table may see its documents, and nobody else."""
    assert staff(permission).get(url("table_preview", table.pk)).status_code == status


def test_a_visitor_has_to_log_in(client, table: Table) -> None:
    """Who is not logged in is sent to the login."""
    assert client.get(url("table_preview", table.pk)).status_code == 302


@pytest.mark.parametrize("pk", ["999", "x", "9" * 50])
def test_an_unknown_table_is_not_found(browser, table: Table, pk: str) -> None:
    """A table that is not there is not found."""
    assert browser.get(url("table_preview", pk)).status_code == 404


def test_nothing_is_logged(browser, database: PlainDatabase, table: Table, caplog: pytest.LogCaptureFixture) -> None:
    """Looking at documents leaves nothing of them anywhere."""
    database.city.insert_one({"_id": "secret"})
    with caplog.at_level("INFO"):
        assert "secret" in browser.get(url("table_preview", table.pk)).content.decode()
    assert "secret" not in caplog.text
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize("page", ["preview", "rules"])
def test_a_draft_that_needs_too_much_time_is_stopped(
    browser, database: PlainDatabase, table: Table, monkeypatch: pytest.MonkeyPatch, page: str
) -> None:
    """The page says that the draft takes too long; nothing burns in the process that shows it."""
    monkeypatch.setattr(process, "MODULE", "tests.trials.hostile")
    monkeypatch.setenv("BURN_INSTEAD", "1")
    address = url(f"table_{page}", table.pk)
    began = time.process_time()
    response = browser.get(address) if page == "preview" else browser.post(address, {"action": "select"})
    assert time.process_time() - began < 2
    assert response.status_code == 200
    assert "CS208: The trial took more than 5 seconds of processor time" in response.content.decode()


BURNING = {
    "projection": {
        "name": {
            "$map": {
                "input": {"$range": [0, "$n"]},
                "in": {"$size": {"$map": {"input": {"$range": [0, "$n"]}, "in": 1}}},
            }
        }
    }
}
HOARDING = {"pipeline": [{"$addFields": {"name": {"$range": [0, "$n"]}}}, {"$unwind": "$name"}]}


@pytest.mark.parametrize(("mapping", "n"), [(BURNING, 100_000), (HOARDING, 6_000_000)])
def test_a_hostile_mapping_is_stopped(browser, database: PlainDatabase, table: Table, mapping: Any, n: int) -> None:
    """A mapping that would take hours, or gigabytes, is answered for soon, and this process takes no part in it."""
    Table.objects.update(mapping=json.dumps(mapping), primary_key=["_id"] if mapping is BURNING else ["_id", "name"])
    table.columns.filter(name="name").update(
        type=("json" if mapping is BURNING else "number"), optional=mapping is BURNING
    )
    database.city.insert_one({"_id": 1, "n": n})
    began = time.process_time()
    response = browser.get(url("table_preview", table.pk))
    assert response.status_code == 200
    assert time.process_time() - began < 2


def test_a_large_page_is_cut(browser, database: PlainDatabase, table: Table) -> None:
    """Of documents near 16 MB the page has a part, and says how much is missing."""
    database.city.insert_many([{"_id": number, "name": "<" * 15_000_000} for number in range(3)])
    response = browser.get(url("table_preview", table.pk))
    assert len(response.content) < 2**20
    assert "more characters)" in response.content.decode()
