"""The history of clients: each change with what was and what is."""

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from changesource.models import App, Client, Credential, queries
from changesource.models.queries.client_changes import HISTORIES, FieldChange, newest_changes
from changesource.publishing.drafts import replace_draft
from changesource.publishing.schema_file import Schema
from changesource.tables.definition import Column, Table
from tests.models.builders import build_app

pytestmark = pytest.mark.django_db


@pytest.fixture
def app() -> App:
    return build_app()


@pytest.fixture
def client(app: App) -> Client:
    return Client.objects.create_for_apps("cache", [app])


def test_a_command_is_recorded_without_a_user(app: App, capsys: pytest.CaptureFixture[str]) -> None:
    """What a command creates is recorded, with no user."""
    call_command("create_client", "cache", "--app", "shop")
    found = [(change.user, change.subject, change.what) for change in newest_changes()]
    assert sorted(found) == [
        ("", "client", "created"),
        ("", f"credential {Credential.objects.get().pk}", "created"),
        ("", "grant for shop", "created"),
    ]


def test_no_secret_has_a_column() -> None:
    """No history has a place for a hash."""
    names = {field.name for model in HISTORIES for field in model._meta.get_fields()}
    assert not names & {"hash", "lookup"}


def test_values_are_shown_as_people_read_them(client: Client) -> None:
    """Whether something is on is said in words."""
    client.is_active = False
    client.save()
    assert newest_changes(client)[0].fields == (FieldChange("active", "yes", "no"),)


def test_being_seen_is_no_change(client: Client) -> None:
    """What the service writes by itself is not in the history."""
    credential, _ = Credential.objects.issue(client)
    before = len(newest_changes())
    Client.objects.filter(pk=client.pk).update(last_seen_at=client.created_at)
    Credential.objects.filter(pk=credential.pk).update(last_used_at=client.created_at)
    assert len(newest_changes()) == before


def test_other_clients_are_apart(client: Client, app: App) -> None:
    """The history of a client is its own, that of its grants and its credentials."""
    other = Client.objects.create_for_apps("other", [app])
    Credential.objects.issue(other)
    assert {change.client for change in newest_changes(client)} == {"cache"}
    assert len(newest_changes(other)) == 3
    assert len(newest_changes()) == 5


def test_clients_that_change_alternately_are_compared_with_themselves(client: Client, app: App) -> None:
    """Each is compared with what it was itself."""
    other = Client.objects.create_for_apps("other", [app])
    for changed, name in ((client, "a"), (other, "b")):
        changed.name = name
        changed.save()
    assert [change.fields for change in newest_changes()[:2]] == [
        (FieldChange("name", "other", "b"),),
        (FieldChange("name", "cache", "a"),),
    ]


def test_a_deleted_app_is_named_by_its_number(client: Client, app: App) -> None:
    """A grant that went with its app is still told of."""
    pk = app.pk
    app.delete()
    assert newest_changes(client)[0].subject == f"grant for app {pk}, which has been deleted"


def test_a_pruned_previous_state_is_unknown(client: Client) -> None:
    """A change of what was there before there was a history says that it does not know."""
    Client.history.model.objects.all().delete()
    client.name = "renamed"
    client.save()
    [change] = [change for change in newest_changes(client) if change.subject == "client"]
    assert (change.is_complete, change.fields) == (False, ())


def test_only_the_newest_changes_are_returned(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest are shown, with what was before them also when that is not."""
    monkeypatch.setattr(queries.client_changes, "MAX_CHANGES", 2)
    for name in "abc":
        client.name = name
        client.save()
    assert [change.fields for change in newest_changes()] == [
        (FieldChange("name", "b", "c"),),
        (FieldChange("name", "a", "b"),),
    ]


def test_drafts_cost_nothing(client: Client) -> None:
    """Replacing a draft takes as many queries for a hundred columns as for one: histories are of clients only."""

    def queries(columns: int) -> int:
        names = ["_id", *(f"c{number}" for number in range(columns))]
        table = Table("city", tuple(Column(name, "string") for name in names), primary_key=("_id",))
        with CaptureQueriesContext(connection) as captured:
            replace_draft("shop", Schema((table,), {}))
        return len(captured)

    assert queries(1) == queries(100)
