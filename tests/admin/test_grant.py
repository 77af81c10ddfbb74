"""Grants on the page of a client: only what is published can be granted."""

from typing import Any

import pytest
from django.utils import timezone

from changesource.models import AccessVersion, App, Client, Grant, Version
from changesource.publishing.release import PreImages
from tests.admin.pages import ClientPage, client_data, url
from tests.models.builders import build_app, build_table, publish

RECORDED = PreImages("default", frozenset({"order"}))
SECONDS = 1_700_000_000


@pytest.fixture
def published(app: App) -> App:
    """`shop` with the tables `city` and `order`, of which the latter may be filtered by its tenant."""
    build_table(app, "order", {"_id": {}, "tenantId": {}, "note": {}}, filter_columns=["tenantId"])
    publish(app, recorded=RECORDED)
    return app


@pytest.fixture
def client(published: App) -> Client:
    return Client.objects.create_for_apps("cache", [published])


def choice(app: App, name: str) -> str:
    return f"{app.pk}/{name}"


def errors(browser: Any, **grant: Any) -> dict[str, list[str]]:
    """Of a new grant, by the name of the input, or none."""
    page = ClientPage(browser, client_data(grant))
    assert page.saved != bool(page.errors)
    return {name.removeprefix("grants-0-"): messages for name, messages in page.errors.items()}


def test_chosen_tables_are_stored(browser, published: App) -> None:
    """A grant holds the names of the tables that were chosen, its shards and its row filters."""
    row_filters = '{"order": {"tenantId": "$client.tenant"}}'
    assert not errors(
        browser,
        app=published.pk,
        all_tables=None,
        tables=[choice(published, "order")],
        shards="0, 1",
        row_filters=row_filters,
    )
    grant = Grant.objects.get()
    assert (grant.all_tables, grant.tables, grant.shard_numbers()) == (False, ["order"], {0, 1})
    assert grant.row_filters == row_filters


def test_only_published_tables_can_be_chosen(browser, client: Client, published: App) -> None:
    """A table of the draft cannot be chosen before it is published, nor one that only an earlier version had."""
    build_table(published, "draft", {"_id": {}})
    published.tables.filter(name="city").delete()
    text = browser.get(url("client_change", client.pk)).content.decode()
    assert choice(published, "city") in text
    assert choice(published, "draft") not in text
    publish(published, recorded=RECORDED)
    text = browser.get(url("client_change", client.pk)).content.decode()
    assert choice(published, "city") not in text
    assert choice(published, "draft") in text


def test_an_unknown_table_is_refused(browser, published: App) -> None:
    """The error says which tables there are."""
    found = errors(browser, app=published.pk, all_tables=None, tables=[choice(published, "../order")])
    assert found == {"tables": ["../order: not in version 1 of shop. It has city, order."]}


def test_a_table_of_another_app_is_refused(browser, published: App) -> None:
    """A table of the same name of another app is another table."""
    other = build_app("other")
    found = errors(browser, app=published.pk, all_tables=None, tables=[choice(other, "city")])
    assert found == {"tables": ["Choose tables of shop only."]}


@pytest.mark.parametrize("chosen", ["", "/", "city", "\0"])
def test_a_choice_that_no_page_offers_is_refused(browser, published: App, chosen: str) -> None:
    """What no page offers is refused."""
    assert list(errors(browser, app=published.pk, all_tables=None, tables=[chosen])) == ["tables"]


def test_a_grant_without_tables_is_refused(browser, published: App) -> None:
    """A grant of nothing is none."""
    assert list(errors(browser, app=published.pk, all_tables=None)) == ["tables"]


def test_all_tables_excludes_a_choice(browser, published: App) -> None:
    """It is either all tables or those that are chosen."""
    assert list(errors(browser, app=published.pk, tables=[choice(published, "city")])) == ["tables"]


@pytest.mark.parametrize("shards", ["x", "1;2", "-1", "1,,2", "1" * 10, "0x1", "²"])
def test_bad_shards_are_refused(browser, published: App, shards: str) -> None:
    """Shards are numbers with commas between them."""
    assert list(errors(browser, app=published.pk, shards=shards)) == ["shards"]


@pytest.mark.parametrize(
    ("row_filters", "place"),
    [
        ("{", "line 1"),
        ("[]", "object"),
        ('{"order": 1}', "order"),
        ('{"nope": {}}', "nope"),
        ('{"order": {"nope": 1}}', "order.nope"),
        ('{"order": {"note": "x"}}', "order.note"),
        ('{"order": {"tenantId": {"$eq": "$auth.sub"}}}', "order.tenantId"),
        ('{"order": {"$where": "1"}}', "order.$where"),
        ('{"order": {"tenantId": {"$nope": 1}}}', "order.tenantId"),
        ("[" * 5000 + "]" * 5000, "nested more than 100 deep"),
    ],
)
def test_bad_row_filters_are_refused(browser, published: App, row_filters: str, place: str) -> None:
    """Filters that cannot be evaluated for what is published are refused, with the place in them."""
    found = errors(browser, app=published.pk, row_filters=row_filters)
    assert list(found) == ["row_filters"]
    assert place in found["row_filters"][0]


def test_an_unpublished_app_can_only_be_granted_whole(browser, app: App) -> None:
    """There is nothing to choose or to filter yet; all tables can be granted."""
    build_table(app, "order", {"_id": {}, "tenantId": {}}, filter_columns=["tenantId"])
    row_filters = '{"order": {"tenantId": "a"}}'
    found = errors(browser, app=app.pk, all_tables=None, tables=[choice(app, "city")], row_filters=row_filters)
    assert list(found) == ["all_tables", "row_filters"]
    assert "Publish it first." in found["all_tables"][0]
    assert not errors(browser, app=app.pk)


def test_a_client_has_one_grant_for_an_app(browser, published: App) -> None:
    """A client has one grant for an app."""
    assert not ClientPage(browser, client_data({"app": published.pk}, {"app": published.pk})).saved
    assert not Client.objects.exists()


def test_a_client_can_be_switched_off_whatever_its_grants(browser, client: Client, published: App) -> None:
    """A grant that was not changed is not checked: a table that is published no more does not keep a client on."""
    Grant.objects.update(all_tables=False, tables=["gone"], row_filters='{"gone": {"a": 1}}')
    grant = client.grants.get()
    data = {"id": grant.pk, "all_tables": None, "tables": [choice(published, "gone")]}
    same = data | {"row_filters": '{\r\n  "gone": {\r\n    "a": 1\r\n  }\r\n}'}
    assert ClientPage(browser, client_data(same, is_active=""), client).saved
    client.refresh_from_db()
    assert (client.is_active, client.grants.get().access()) == (False, grant.access())
    assert not ClientPage(browser, client_data(data, is_active=""), client).saved


def test_the_app_of_a_grant_is_fixed(browser, client: Client) -> None:
    """Another app is another grant."""
    other = build_app("other")
    grant = client.grants.get()
    assert ClientPage(browser, client_data({"id": grant.pk, "app": other.pk, "shards": "3"}), client).saved
    grant.refresh_from_db()
    assert (grant.app.app_id, grant.shards) == ("shop", "3")


def add_access(client: Client, number: int, **values: Any) -> None:
    grant = client.grants.get()
    values = {"access": grant.access(), **values}
    AccessVersion.objects.create(client=client, app=grant.app, number=number, **values)


class TestInForce:
    """What the page says of the access that streams have come to."""

    @pytest.fixture
    def text(self, browser, client: Client) -> Any:
        return lambda: browser.get(url("client_change", client.pk)).content.decode()

    def test_the_page_says_that_the_client_has_not_connected(self, text) -> None:
        assert "Nothing yet: the client has not connected" in text()

    def test_the_first_access_counts_from_when_it_was_made(self, client: Client, text) -> None:
        """It has no marker."""
        add_access(client, 1, cluster_time=0)
        assert f"Access version 1, since {timezone.now():%b}" in text()

    def test_a_later_access_counts_from_its_marker(self, client: Client, text) -> None:
        add_access(client, 1, cluster_time=0)
        add_access(client, 2, cluster_time=SECONDS << 32)
        page = text()
        assert "Access version 2, since Nov. 14, 2023" in page
        assert "waiting" not in page

    def test_an_access_whose_marker_was_not_met_is_waiting(self, client: Client, text) -> None:
        """The one before it is in force."""
        add_access(client, 1, cluster_time=SECONDS << 32)
        add_access(client, 2)
        page = text()
        assert "Access version 2 is waiting for the stream." in page
        assert "Access version 1, since Nov. 14, 2023" in page

    def test_a_saved_grant_that_no_stream_has_noticed_is_waiting(self, client: Client, text) -> None:
        add_access(client, 1, cluster_time=SECONDS << 32, access={})
        assert "comes into force when the client streams" in text()


def test_the_version_is_looked_up_once(browser, client: Client, django_assert_max_num_queries) -> None:
    """The page reads what is published once, however many grants a client has."""
    for name in ("a", "b", "c"):
        app = build_app(name)
        publish(app)
        client.grants.create(app=app)
    assert Version.objects.count() == 4
    with django_assert_max_num_queries(45):
        browser.get(url("client_change", client.pk))
