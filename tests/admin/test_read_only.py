"""What the change source has written is shown and not edited."""

from typing import Any

import pytest
from django.utils import timezone

from changesource.models import App, AwaitedReplica, Client, Refusal, Replica, RowErrorRecord, RunningSnapshot
from changesource.protocol.watermarks import Position
from tests.admin.pages import url
from tests.models.builders import publish

SECONDS = 1_700_000_000


@pytest.fixture
def records(app: App) -> dict[str, Any]:
    """One of each."""
    now = timezone.now()
    watermark = Position(SECONDS << 32).watermark
    return {
        "version": publish(app),
        "replica": Replica.objects.create(
            app=app,
            shard_num=0,
            replica_version=watermark,
            snapshot_end=watermark,
            acknowledged=watermark,
            version_number=1,
            client=Client.objects.create_for_apps("cache", [app]),
            last_seen_at=now,
        ),
        "awaitedreplica": AwaitedReplica.objects.create(
            app=app,
            client=Client.objects.create_for_apps("third", [app]),
            shard_num=0,
            reason="The source is <another>.",
            is_fault=True,
            told_at=now,
        ),
        "rowerrorrecord": RowErrorRecord.objects.create(
            app=app, table="city", document_id="<1>", column="size", reason="is text", first_seen=now, last_seen=now
        ),
        "runningsnapshot": RunningSnapshot.objects.create(
            token="t",
            app=app,
            client=Client.objects.create_for_apps("second", [app]),
            shard_num=0,
            asked_at=now,
            noted_at=now,
        ),
        "refusal": Refusal.objects.create(
            address="192.0.2.7",
            client="<shop>",
            code=4401,
            reason="Unknown token.",
            count=12,
            first_seen=now,
            last_seen=now,
        ),
    }


MODELS = pytest.mark.parametrize(
    "model", ["version", "replica", "awaitedreplica", "rowerrorrecord", "refusal", "runningsnapshot"]
)


@MODELS
def test_records_are_listed_searched_and_shown(browser, records: dict[str, Any], model: str) -> None:
    assert browser.get(url(f"{model}_changelist"), {"q": "shop"}).status_code == 200
    assert browser.get(url(f"{model}_change", records[model].pk)).status_code == 200


@MODELS
@pytest.mark.parametrize("page", ["add", "change", "delete"])
def test_nobody_adds_changes_or_deletes_a_record(browser, records: dict[str, Any], model: str, page: str) -> None:
    """Not even a superuser."""
    stored = type(records[model]).objects.values()
    before = stored.get()
    args = [] if page == "add" else [records[model].pk]
    assert browser.post(url(f"{model}_{page}", *args), {"post": "yes", "number": 7}).status_code == 403
    assert stored.all().get() == before


def test_the_definition_of_a_version_is_shown_with_line_breaks(browser, records: dict[str, Any]) -> None:
    text = browser.get(url("version_change", records["version"].pk)).content.decode()
    assert "<pre>{\n  &quot;app&quot;: &quot;shop&quot;," in text


def test_the_list_says_until_when_a_replica_has_everything(browser, records: dict[str, Any]) -> None:
    """It says nothing for one that has not acknowledged anything yet."""
    page = url("replica_changelist")
    assert "Nov. 14, 2023" in browser.get(page).content.decode()
    Replica.objects.update(acknowledged="")
    assert "Nov. 14, 2023" not in browser.get(page).content.decode()


def test_text_of_documents_is_escaped(browser, records: dict[str, Any]) -> None:
    """What came out of a database is shown as text."""
    assert "&lt;1&gt;" in browser.get(url("rowerrorrecord_changelist")).content.decode()


def test_the_name_that_a_refused_client_sent_is_escaped(browser, records: dict[str, Any]) -> None:
    """The client that was refused chose that name."""
    text = browser.get(url("refusal_changelist"), {"q": "192.0.2"}).content.decode()
    assert "&lt;shop&gt;" in text
    assert "<shop>" not in text


@pytest.mark.parametrize("page", ["refusal", "version", "replica"])
def test_a_list_by_an_impossible_year_redirects_to_the_whole_list(browser, page: str) -> None:
    """As for any other address that makes no sense."""
    field = {"refusal": "last_seen", "version": "published_at", "replica": "last_seen_at"}[page]
    response = browser.get(url(f"{page}_changelist"), {f"{field}__year": "9" * 20})
    assert response.status_code == 302
    assert response.headers["Location"].endswith("?e=1")
