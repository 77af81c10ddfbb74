"""Drafts become versions."""

import pytest
from django.contrib.auth.models import User

from changesource.errors import InvalidDefinition, UnknownSource
from changesource.models import AccessVersion, App, Client, Column, Version
from changesource.models.draft import draft_definition
from changesource.publishing.release import PreImages
from changesource.publishing.review import Review
from tests.models.builders import build_app, build_table, publish

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def default_source(settings) -> None:
    settings.CHANGESOURCE_SOURCES = {"default": "mongodb://localhost/shop"}


@pytest.fixture
def app() -> App:
    return build_app()


def test_the_first_version_has_number_1_and_says_what_the_draft_says(app: App) -> None:
    version = publish(app)
    assert (version.number, version.to_definition()) == (1, draft_definition(app))


def test_an_edited_draft_becomes_the_next_version(app: App) -> None:
    """The version before keeps what it said."""
    first = publish(app)
    build_table(app, "country", {"_id": {}})
    second = publish(app)
    assert second.number == 2
    assert [len(Version.objects.get(pk=version.pk).definition["tables"]) for version in (first, second)] == [1, 2]


def test_an_unchanged_draft_is_not_stored_again(app: App) -> None:
    """A draft that says what the newest version says is not stored again."""
    assert publish(app) == publish(app)
    assert app.versions.count() == 1


def test_a_draft_that_was_changed_back_is_a_new_version(app: App) -> None:
    """What an older version said is published as a new one."""
    publish(app)
    table = build_table(app, "country", {"_id": {}})
    publish(app)
    table.delete()
    assert publish(app).number == 3


def test_another_source_starts_over(app: App, settings) -> None:
    """Nothing streams on over it: neither the version nor what clients may read begins at a marker."""
    publish(app)
    client = Client.objects.create_for_apps("tenant", [app])
    AccessVersion.objects.create(client=client, app=app, number=1, access={}, cluster_time=7)
    settings.CHANGESOURCE_SOURCES["other"] = "mongodb://localhost/other"
    app.source = "other"
    app.save()
    assert publish(app).cluster_time == 0
    assert [access.cluster_time for access in AccessVersion.objects.all()] == [0, 7]


def test_numbers_of_apps_are_apart(app: App) -> None:
    """Each app counts its own versions."""
    publish(app)
    assert publish(build_app("other")).number == 1


def test_a_version_knows_its_publisher(app: App) -> None:
    """A version knows who published it."""
    user = User.objects.create(username="ada")
    assert publish(app, user).published_by == user


def test_the_stored_draft_is_published(app: App) -> None:
    """What is published is the draft in the database, not the caller's copy."""
    App.objects.update(relationships={"city": {}})
    assert publish(app).definition["relationships"] == {"city": {}}


def test_problems_are_listed(app: App) -> None:
    """A draft with problems is refused with each of them, and nothing is stored."""
    Column.objects.filter(name="name").update(name="my name")
    Column.objects.filter(name="_id").update(type="json")
    with pytest.raises(InvalidDefinition) as refusal:
        publish(app)
    assert "city.my name.name: " in str(refusal.value)
    assert "city._id.type: " in str(refusal.value)
    assert Version.objects.newest(app) is None


def test_a_source_without_a_uri_is_refused(app: App) -> None:
    """An app whose source has no URI is refused; the message names the variable to set."""
    App.objects.update(source="archive")
    with pytest.raises(UnknownSource, match="MONGODB_URI_ARCHIVE"):
        publish(app)
    assert Version.objects.newest(app) is None


def test_pre_images_that_are_not_recorded_are_refused(app: App) -> None:
    """A draft that needs pre-images is published only by who knows them to be recorded, in its source."""
    build_table(app, "by_name", {"name": {}}, collection="city", primary_key=["name"])
    city = frozenset({"city"})
    for recorded in (PreImages(), PreImages("default", frozenset({"other"})), PreImages("archive", city)):
        with pytest.raises(InvalidDefinition, match="pre-images of city"):
            publish(app, recorded=recorded)
    assert publish(app, recorded=PreImages("default", city | {"other"})).number == 1


def test_a_description_compares_draft_and_version(app: App) -> None:
    """Draft and published state are told apart in words."""
    described = [Review(app).description]
    publish(app)
    described.append(Review(app).description)
    Column.objects.filter(name="name").update(type="json")
    described.append(Review(app).description)
    assert described == ["never published", "version 1", "draft differs from version 1"]
