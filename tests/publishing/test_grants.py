"""Whom a publish would cut off."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st

from changesource.errors import InvalidDefinition
from changesource.models import App, Client, Grant, Version
from changesource.publishing.client_view import Access, ClientView
from changesource.publishing.compiled import CompiledVersion
from changesource.publishing.drafts import replace_draft
from changesource.publishing.grants import CONFIRM_ACTION, CutOff, find_cut_off, find_not_shown
from changesource.publishing.release import PreImages
from changesource.publishing.review import Review
from changesource.publishing.schema_file import Schema
from changesource.tables.definition import AppDefinition, Column, Table
from tests.examples import examples
from tests.models.builders import build_table, publish, set_grant

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
    return set_grant(Client.objects.create_for_apps(name, [app]), **values)


def cut_off_by(app: App, *tables: Table, **changes: Any) -> list[CutOff]:
    """What a publish of `tables` would find."""
    newest = Version.objects.newest(app)
    return find_cut_off(app, newest.to_definition() if newest else None, replace(PUBLISHED, tables=tables, **changes))


def messages(app: App, *tables: Table, **changes: Any) -> list[str]:
    """All that a publish of `tables` would say."""
    return list(map(str, cut_off_by(app, *tables, **changes)))


def found(app: App, *tables: Table) -> list[tuple[str, bool]]:
    """Client and whether it refuses, of everybody whom a publish of `tables` would cut off."""
    return [(cut_off.client, cut_off.refuses) for cut_off in cut_off_by(app, *tables)]


def test_what_no_filter_uses_may_be_dropped(app: App) -> None:
    """What a client does not ask for may go."""
    grant(app, row_filters=BY_TENANT)
    grant(app, "all")
    assert found(app, ORDER, ITEM) == []
    assert found(app, replace(ORDER, filter_columns=("tenant",), columns=COLUMNS[:2]), ITEM) == []


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
def test_dropping_a_filter_column_in_use_is_refused(app: App, order: Table, reason: str) -> None:
    """A filter that could not be evaluated any more refuses the publish, with the client and what to do."""
    grant(app, row_filters=BY_TENANT)
    grant(app, "all")
    [cut_off] = cut_off_by(app, order, ITEM)
    assert cut_off.refuses
    assert str(cut_off) == (
        "Client acme: Its row filter for the table 'order' could no longer be evaluated, so it would lose the table: "
        f"{reason} First change the client's filter, or keep the columns that it uses."
    )


def test_dropping_a_filtered_table_is_refused(app: App) -> None:
    """Its filter has to go first."""
    grant(app, row_filters=BY_TENANT)
    [cut_off] = cut_off_by(app, ITEM)
    assert cut_off.refuses
    assert cut_off.message.startswith("Its row filters name the table 'order', which is dropped.")


def test_dropping_a_named_table_is_reported(app: App) -> None:
    """Without a filter that is said, and nothing is refused; a renamed table is another."""
    grant(app, all_tables=False, tables=["order", "item", "nope"])
    gone, new = cut_off_by(app, ORDER, replace(ITEM, name="line"))
    assert not gone.refuses
    assert not new.refuses
    assert gone.message.startswith("It may read the table 'item', which is dropped: it loses the table.")
    assert (
        new.message
        == "It will not see everything that is new. It may read chosen tables only, and 'line' is not among them."
    )


def test_a_filter_of_a_table_that_it_may_not_read_loses_nothing(app: App) -> None:
    """It shows nothing, so nothing is lost."""
    grant(app, all_tables=False, tables=["item"], row_filters=BY_TENANT)
    assert found(app, ITEM) == []


@pytest.mark.parametrize(
    "row_filters", ['{"order": {"nope": 1}}', '{"town": {}}', '{"order": {"tenant": "$auth.sub"}}', "{", "[]"]
)
def test_a_filter_that_shows_nothing_now_loses_nothing(app: App, row_filters: str) -> None:
    """A client that sees nothing of a table does not lose it; publishing goes on."""
    grant(app, row_filters=row_filters)
    assert found(app, ITEM) == []
    assert found(app, replace(ORDER, filter_columns=()), ITEM) == []


def test_filters_are_judged_one_by_one(app: App) -> None:
    """A filter that shows nothing hides none of the others."""
    both = '{"town": {}, "order": {"region": {"$in": ["5", "x"]}}}'
    grant(app, row_filters=both)
    assert found(app, replace(ORDER, filter_columns=("tenant",)), ITEM) == [("acme", True)]
    assert found(app, ORDER) == []


@pytest.mark.parametrize("values", [{"is_active": False}, {"expires_at": timezone.now() - timedelta(days=1)}])
def test_an_inactive_client_does_not_prevent_a_publish(app: App, values: dict[str, Any]) -> None:
    """It is told of, and keeps nobody from publishing."""
    client = grant(app, row_filters=BY_TENANT).client
    Client.objects.filter(pk=client.pk).update(**values)
    assert found(app, ITEM) == [("acme", False)]
    Client.objects.filter(pk=client.pk).update(is_active=True, expires_at=timezone.now() + timedelta(days=1))
    assert found(app, ITEM) == [("acme", True)]


def test_clients_of_other_apps_are_not_affected(app: App) -> None:
    """A grant is about its own app."""
    grant(App.objects.create(app_id="other"), row_filters=BY_TENANT)
    assert found(app, ITEM) == []


def test_a_publish_that_cuts_clients_off_is_refused(app: App) -> None:
    """Every client that would be cut off is named; when the filters are others, it can be published."""
    grants = [grant(app, name, row_filters=BY_TENANT) for name in ("acme", "zoo")]
    warned = grant(app, "other", all_tables=False, tables=["order"])
    app.tables.filter(name="order").delete()
    with pytest.raises(
        InvalidDefinition, match=r"(?s)shop cannot be published\.\nClient acme: .*\nClient zoo: "
    ) as refused:
        Review(app).refuse_unpublishable()
    assert warned.client.name not in str(refused.value)
    for each in grants:
        set_grant(each.client, row_filters="")
    Review(app).refuse_unpublishable()


NEW = Table("payroll", COLUMNS, ("_id",))
NEW_UNFILTERED = (
    "Client acme: It will not see everything that is new. It has row filters, and none for 'payroll'. The row filter "
    '{"payroll": {}} shares the whole table.'
)
CONFIRM = f'To show it, choose "{CONFIRM_ACTION}" in the list of clients after publishing.'


def test_a_new_table_is_reported_for_filtered_clients(app: App) -> None:
    """A client with row filters will not see it, and the publish says so; one that may read all tables will."""
    grant(app, row_filters=BY_TENANT)
    grant(app, "all")
    assert messages(app, ORDER, ITEM, NEW) == [NEW_UNFILTERED]


def test_names_from_before_the_first_publish_show_nothing(app: App) -> None:
    """Before it nothing could be named, so a client with row filters sees nothing of it until somebody confirms."""
    Version.objects.all().delete()
    grant(app, row_filters=BY_TENANT)
    unnamed, named = messages(app, ORDER, ITEM)
    assert "none for 'item'" in unnamed
    assert named == (
        f"Client acme: Its grant named the table 'order' before the table existed, so it does not see the table. {CONFIRM}"
    )


@pytest.mark.parametrize("values", [{"row_filters": BY_TENANT}, {"all_tables": False, "tables": ["order"]}])
def test_a_table_that_reads_other_documents_is_reported(app: App, values: dict[str, Any]) -> None:
    """A name means the documents that it showed. Another collection, or another source, is not what was granted."""
    grant(app, **values)
    reads = "Client acme: Its grant means default.order by the table 'order'. The table now reads {}, so "
    said = f"{reads}it does not see the table. "
    assert messages(app, replace(ORDER, collection="archive"), ITEM) == [said.format("default.archive") + CONFIRM]
    assert messages(app, ORDER, ITEM, source="other") == [said.format("other.order") + CONFIRM]


def test_a_filter_column_that_is_computed_in_another_way_is_reported(app: App) -> None:
    """The table stays, and somebody should look whether the filter lets the right rows pass."""
    grant(app, row_filters=BY_TENANT)
    grant(app, "whole", row_filters='{"order": {}, "item": {}}')
    field = replace(ORDER, columns=(COLUMNS[0], Column("tenant", "string", field="seller"), COLUMNS[2]))
    mapping = replace(ORDER, mapping='{"projection": {"tenant": "$seller", "region": 1}}')
    for changed in (field, mapping):
        [message] = messages(app, changed, ITEM)
        assert message.startswith("Client acme: Its row filter for the table 'order' uses columns whose values will")


class TestNames:
    """What the names of a grant mean, as publishes and edits go by."""

    def shown(self, acme: Grant) -> list[str]:
        access = Access.from_json(json.dumps(Grant.objects.get(pk=acme.pk).access()))
        view = ClientView(CompiledVersion(definition_of(acme.app), 1), access)
        return [table.name for table in view.definition.tables]

    def publish(self, app: App, **collections: str) -> None:
        for name, collection in collections.items():
            app.tables.filter(name=name).update(collection=collection)
        publish(app, recorded=PreImages("default", frozenset({"order", "archive"})))

    def test_row_filters_of_a_grant_for_all_tables_hide_the_other_tables(self, app: App) -> None:
        """`{}` shows one of them whole."""
        acme = grant(app, row_filters=BY_TENANT)
        assert self.shown(acme) == ["order"]
        set_grant(acme.client, row_filters='{"order": {"tenant": "a"}, "item": {}}')
        assert self.shown(acme) == ["order", "item"]
        set_grant(acme.client, row_filters="")
        assert self.shown(acme) == ["order", "item"]
        set_grant(acme.client, row_filters="{")
        assert self.shown(acme) == []

    def test_chosen_tables_are_shown_with_a_filter_or_without(self, app: App) -> None:
        chosen = grant(app, all_tables=False, tables=["order", "item"], row_filters=BY_TENANT)
        assert self.shown(chosen) == ["order", "item"]

    @pytest.mark.parametrize("values", [{"row_filters": BY_TENANT}, {"all_tables": False, "tables": ["order"]}])
    def test_a_table_of_another_collection_is_not_shown(self, app: App, values: dict[str, Any]) -> None:
        """However often the grant is saved, until somebody confirms it or the collection is as it was."""
        acme = grant(app, **values)
        everything = grant(app, "all")
        self.publish(app, order="archive")
        assert self.shown(acme) == []
        assert self.shown(everything) == ["order", "item"]
        set_grant(acme.client, shards="1")
        assert self.shown(acme) == []
        self.publish(app, order="order")
        assert self.shown(acme) == ["order"]
        self.publish(app, order="archive")
        Grant.objects.get(pk=acme.pk).confirm()
        assert self.shown(acme) == ["order"]

    def test_a_table_that_was_named_before_it_was_published_is_not_shown(self, app: App) -> None:
        acme = grant(app, row_filters='{"order": {}, "payroll": {}}')
        build_table(app, "payroll", {"_id": {}})
        self.publish(app)
        assert self.shown(acme) == ["order"]
        assert "before the table existed" in str(find_not_shown(Grant.objects.get(pk=acme.pk), definition_of(app)))
        Grant.objects.get(pk=acme.pk).confirm()
        assert self.shown(acme) == ["order", "payroll"]


def definition_of(app: App) -> AppDefinition:
    newest = Version.objects.newest(app)
    assert newest is not None
    return newest.to_definition()


def test_only_what_may_be_meant_to_be_shown_is_reported(app: App) -> None:
    """Only what a grant may be meant to show is said."""
    said = ["'item': no row filter. The row filter {\"item\": {}} shares the whole table."]
    assert find_not_shown(grant(app, row_filters=BY_TENANT), definition_of(app)) == said
    assert find_not_shown(grant(app, "all"), definition_of(app)) == []
    assert find_not_shown(grant(app, "some", all_tables=False, tables=["order"]), definition_of(app)) == []


RANDOM_TABLES = st.fixed_dictionaries(
    {},
    optional={
        name: st.builds(
            Table,
            st.just(name),
            st.just(COLUMNS),
            st.just(("_id",)),
            collection=st.sampled_from(["order", "item", "secret"]),
            filter_columns=st.sampled_from([(), ("tenant",), ("tenant", "region")]),
        )
        for name in ("order", "item", "payroll")
    },
)
RANDOM_FILTERS = st.dictionaries(
    st.sampled_from(["order", "item", "payroll"]),
    st.sampled_from([{}, {"tenant": "$client.tenant"}, {"tenant": {"$ne": "b"}}, {"region": "x"}]),
    min_size=1,
)


@settings(deadline=None, max_examples=examples(300))
@given(
    versions=st.lists(st.tuples(st.sampled_from(["default", "other"]), RANDOM_TABLES), min_size=1, max_size=6),
    edits=st.lists(st.none() | RANDOM_FILTERS, min_size=6, max_size=6),
    tables=st.none() | st.sets(st.sampled_from(["order", "item", "payroll"])),
)
def test_a_tenant_has_no_row_of_a_table_that_was_published_later(versions: Any, edits: Any, tables: Any) -> None:
    """A tenant with row filters, or a list of tables, never has a row of a table that came after its grant: whatever is
    published and however the filters change, what is shown is a table that was named while it streamed, of the same
    documents, and only rows that its filter lets pass."""
    acme = Grant(
        client=Client(attributes={"tenant": "a"}),
        app=App(app_id="shop"),
        all_tables=tables is None,
        tables=sorted(tables or ()),
        row_filters='{"order": {}}',
    )
    granted: dict[str, str] = {}
    for number, (source, by_name) in enumerate(versions):
        definition = AppDefinition("shop", source, tuple(by_name.values()))
        if edits[number] is not None:
            acme.row_filters = json.dumps(edits[number])
            acme.note_origins(definition)
            names = set(edits[number]) if tables is None else tables
            streams = {name: f"{source}.{table.collection}" for name, table in by_name.items()}
            granted = {name: found for name, found in (streams | granted).items() if name in names}
        view = ClientView(CompiledVersion(definition, number), Access.from_json(json.dumps(acme.access())))
        for table in view.definition.tables:
            assert granted.get(table.name) == f"{source}.{table.collection}"
        filters = json.loads(acme.row_filters)
        for compiled in view.tables:
            rows = [{"_id": owner, "tenant": owner, "region": owner} for owner in "ab"]
            shown = {row["_id"] for row in view.rows(compiled, iter(rows))}
            assert "b" not in shown or not filters.get(compiled.table.name)
