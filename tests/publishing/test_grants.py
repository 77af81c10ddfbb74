"""Whom a publish would cut off."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from changesource.errors import InvalidDefinition
from changesource.mapping.definition import AppDefinition, Column, Table
from changesource.models import App, Client, Grant, Version
from changesource.publishing.drafts import replace_draft
from changesource.publishing.grants import find_cut_off
from changesource.publishing.schema_file import Schema
from changesource.publishing.versions import PreImages, publishable_draft
from tests.models.builders import publish

pytestmark = pytest.mark.django_db

COLUMNS = (Column("_id", "string"), Column("tenant", "string"), Column("region", "string"))
ORDER = Table("order", COLUMNS, ("_id",), filter_columns=("tenant", "region"))
ITEM = Table("item", COLUMNS, ("_id",))
PUBLISHED = AppDefinition("shop", "default", (ORDER, ITEM))
BY_TENANT = '{"order": {"tenant": "$client.tenant"}}'


@pytest.fixture(autouse=True)
def default_source(settings) -> None:
    settings.CHANGESOURCE_SOURCES = {"default": "mongodb://localhost/shop"}


@pytest.fixture
def app() -> App:
    """An app of which `PUBLISHED` streams."""
    app = replace_draft("shop", Schema(PUBLISHED.tables, {}))
    publish(app, recorded=PreImages("default", frozenset({"order"})))
    return app


def grant(app: App, name: str = "acme", **values: Any) -> Grant:
    grant = Client.objects.create_for_apps(name, [app]).grants.get()
    Grant.objects.filter(pk=grant.pk).update(**values)
    return Grant.objects.get(pk=grant.pk)


def found(app: App, *tables: Table) -> list[tuple[str, bool]]:
    """Client and whether it refuses, of everybody whom a publish of `tables` would cut off."""
    return [(cut_off.client, cut_off.refuses) for cut_off in find_cut_off(app, replace(PUBLISHED, tables=tables))]


def test_nobody(app: App) -> None:
    """What a client does not ask for may go, and so may everything before there are versions."""
    grant(app, row_filters=BY_TENANT)
    grant(app, "all")
    assert found(app, ORDER, ITEM) == []
    assert found(app, replace(ORDER, filter_columns=("tenant",), columns=COLUMNS[:2])) == []
    Version.objects.all().delete()
    assert found(app, ITEM) == []


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        (
            replace(ORDER, filter_columns=("region",)),
            "order.tenant: 'tenant' is not a filter column of the table 'order'. Those are region. Add it to the table's "
            "filter columns and publish, then use it here.",
        ),
        (
            replace(ORDER, filter_columns=("region",), columns=(COLUMNS[0], COLUMNS[2])),
            "order.tenant: The table 'order' has no column 'tenant'.",
        ),
    ],
)
def test_filter_column_that_goes(app: App, order: Table, reason: str) -> None:
    """A filter that could not be evaluated any more refuses the publish, with the client and what to do."""
    grant(app, row_filters=BY_TENANT)
    grant(app, "all")
    [cut_off] = find_cut_off(app, replace(PUBLISHED, tables=(order, ITEM)))
    assert cut_off.refuses
    assert str(cut_off) == (
        "Client acme: Its row filter for the table 'order' could not be evaluated any more, so that it would lose the table: "
        f"{reason} First change the filter of the client, or keep in the table what it asks for."
    )


def test_filtered_table_that_goes(app: App) -> None:
    """Its filter has to go first."""
    grant(app, row_filters=BY_TENANT)
    [cut_off] = find_cut_off(app, replace(PUBLISHED, tables=(ITEM,)))
    assert cut_off.refuses
    assert cut_off.message.startswith("Its row filters name the table 'order', which goes.")


def test_named_table_that_goes(app: App) -> None:
    """Without a filter that is said, and nothing is refused; a renamed table is another."""
    grant(app, all_tables=False, tables=["order", "item", "nope"])
    [cut_off] = find_cut_off(app, replace(PUBLISHED, tables=(ORDER, replace(ITEM, name="line"))))
    assert not cut_off.refuses
    assert cut_off.message.startswith("It may read the table 'item', which goes")


def test_filter_of_a_table_that_it_may_not_read(app: App) -> None:
    """It shows nothing, so nothing is lost."""
    grant(app, all_tables=False, tables=["item"], row_filters=BY_TENANT)
    assert found(app, ITEM) == []


@pytest.mark.parametrize(
    "row_filters", ['{"order": {"nope": 1}}', '{"town": {}}', '{"order": {"tenant": "$auth.sub"}}', "{", "[]"]
)
def test_filter_that_shows_nothing_now(app: App, row_filters: str) -> None:
    """A client that sees nothing of a table does not lose it; publishing goes on."""
    grant(app, row_filters=row_filters)
    assert found(app, ITEM) == []
    assert found(app, replace(ORDER, filter_columns=()), ITEM) == []


def test_filters_are_looked_at_one_by_one(app: App) -> None:
    """A filter that shows nothing hides none of the others."""
    both = '{"town": {}, "order": {"region": {"$in": ["5", "x"]}}}'
    grant(app, row_filters=both)
    assert found(app, replace(ORDER, filter_columns=("tenant",)), ITEM) == [("acme", True)]
    assert found(app, ORDER) == []


@pytest.mark.parametrize("values", [{"is_active": False}, {"expires_at": timezone.now() - timedelta(days=1)}])
def test_client_that_is_off(app: App, values: dict[str, Any]) -> None:
    """It is told of, and keeps nobody from publishing."""
    client = grant(app, row_filters=BY_TENANT).client
    Client.objects.filter(pk=client.pk).update(**values)
    assert found(app, ITEM) == [("acme", False)]
    Client.objects.filter(pk=client.pk).update(is_active=True, expires_at=timezone.now() + timedelta(days=1))
    assert found(app, ITEM) == [("acme", True)]


def test_clients_of_other_apps(app: App) -> None:
    """A grant is about its own app."""
    grant(App.objects.create(app_id="other"), row_filters=BY_TENANT)
    assert found(app, ITEM) == []


def test_publish_is_refused(app: App) -> None:
    """Every client that would be cut off is named; when the filters are others, it can be published."""
    grants = [grant(app, name, row_filters=BY_TENANT) for name in ("acme", "zoo")]
    warned = grant(app, "other", all_tables=False, tables=["order"])
    app.tables.filter(name="order").delete()
    with pytest.raises(
        InvalidDefinition, match=r"(?s)shop cannot be published\.\nClient acme: .*\nClient zoo: "
    ) as refused:
        publishable_draft(app)
    assert warned.client.name not in str(refused.value)
    Grant.objects.filter(pk__in=[grant.pk for grant in grants]).update(row_filters="")
    assert [table.name for table in publishable_draft(app).tables] == ["item"]
