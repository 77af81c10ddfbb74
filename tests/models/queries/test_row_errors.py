"""queries/row_errors.py: row errors are counted, bounded, and deleted once they have ended."""

import pytest
from asgiref.sync import sync_to_async

from changesource.models import App, RowErrorRecord, queries
from changesource.models.queries.row_errors import MAX_ROW_ERRORS
from changesource.tables.row_errors import RowError
from tests.models.builders import build_app

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def app() -> App:
    return build_app()


async def test_errors_at_one_place_are_counted(app: App) -> None:
    """The same place is one record with a count, over several calls, and its newest reason."""
    error = RowError("city", "1", "size", "is text")
    await queries.row_errors.record_row_errors("shop", [error, error])
    await queries.row_errors.record_row_errors("shop", [RowError("city", "1", "size", "is too long")])
    record = await RowErrorRecord.objects.aget()
    assert (record.count, record.reason) == (3, "is too long")
    assert record.first_seen < record.last_seen


async def test_places_are_apart(app: App) -> None:
    """Table, document and column tell records apart."""
    errors = [RowError(table, document, column, "") for table in "ab" for document in "12" for column in "xy"]
    await queries.row_errors.record_row_errors("shop", errors)
    await queries.row_errors.record_row_errors("shop", errors[:1])
    assert await RowErrorRecord.objects.acount() == 8
    assert await RowErrorRecord.objects.filter(count=2).acount() == 1


async def test_long_and_odd_texts_are_truncated(app: App) -> None:
    """An `_id` of any length and with any character is stored, cut."""
    await queries.row_errors.record_row_errors("shop", [RowError("city", "ä\0" * 5_000, "size", "r" * 5_000)] * 2)
    record = await RowErrorRecord.objects.aget()
    assert (len(record.document_id), len(record.reason), record.count) == (200, 500, 2)
    assert "\0" not in record.document_id


async def test_only_the_newest_errors_are_kept(app: App) -> None:
    """No more than the newest thousand of an app are kept."""
    await queries.row_errors.record_row_errors("shop", [RowError("city", "old", "size", "")])
    await queries.row_errors.record_row_errors(
        "shop", [RowError("city", str(n), "size", "") for n in range(MAX_ROW_ERRORS + 5)]
    )
    assert await RowErrorRecord.objects.acount() == MAX_ROW_ERRORS
    assert not await RowErrorRecord.objects.filter(document_id__in=["old", "4"]).aexists()
    assert await RowErrorRecord.objects.filter(document_id="5").aexists()


async def test_errors_of_one_app_do_not_push_out_those_of_another(app: App) -> None:
    """Many errors of one app push out none of another."""
    await sync_to_async(build_app)("other")
    await queries.row_errors.record_row_errors("other", [RowError("city", "1", "size", "")])
    await queries.row_errors.record_row_errors(
        "shop", [RowError("city", str(n), "size", "") for n in range(MAX_ROW_ERRORS)]
    )
    assert await RowErrorRecord.objects.filter(app__app_id="other").acount() == 1


async def test_errors_of_an_unknown_app_are_dropped() -> None:
    """Errors of an app that was deleted are dropped."""
    await queries.row_errors.record_row_errors("nope", [RowError("city", "1", "size", "")])
    assert await RowErrorRecord.objects.acount() == 0


async def test_no_errors_change_nothing(app: App) -> None:
    """No errors, no work."""
    await queries.row_errors.record_row_errors("shop", [])
    assert await RowErrorRecord.objects.acount() == 0


async def test_errors_that_have_ended_are_deleted(app) -> None:
    """The errors of a document in a table are forgotten; one that comes with that is counted again."""
    await queries.row_errors.record_row_errors(
        "shop",
        [RowError(table, number, "size", "is text") for table in ("city", "place") for number in ("1", "2")],
    )
    await queries.row_errors.record_row_errors(
        "shop", [RowError("city", "2", "size", "")], [("city", "1"), ("city", "2")]
    )
    found = await queries.row_errors.documents_with_row_errors(["shop"])
    assert {table: sorted(ids) for table, ids in found["shop"].items()} == {"city": ["2"], "place": ["1", "2"]}
    assert (await RowErrorRecord.objects.aget(table="city")).count == 1


async def test_without_app_ids_all_documents_are_returned(app) -> None:
    """Without ids of apps, all documents with row errors are given."""
    await queries.row_errors.record_row_errors(
        "shop", [RowError("city", "1", "size", ""), RowError("city", "1", "name", "")]
    )
    assert await queries.row_errors.documents_with_row_errors() == {"shop": {"city": ["1"]}}
    assert await queries.row_errors.documents_with_row_errors(["other"]) == {}
