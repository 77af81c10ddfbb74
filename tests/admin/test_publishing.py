"""Who may see, publish and restore, and what the pages say when something is not as it was."""

from collections import Counter

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client as Browser
from django.test.utils import CaptureQueriesContext

from changesource.models import App, Client, Column, Version
from changesource.models.draft import draft_definition
from changesource.operations import publisher
from changesource.publishing.release import PreImages
from changesource.publishing.review import Review
from changesource.publishing.versions import begin_publish
from changesource.tables.compiled_table import CompiledTable
from changesource.tables.definition import Table
from tests.admin.pages import messages_of, url
from tests.models.builders import build_app, build_table, set_grant
from tests.simulation.sources import default_source
from zerosources.embedded.servers import MongoServer

MAX_REVIEW_QUERIES = 8
"""Of the whole page, with the session and the user."""


def staff(name: str, *permissions: str) -> Browser:
    """A member of staff with these permissions."""
    user = User.objects.create_user(name, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    browser = Browser()
    browser.force_login(user)
    return browser


@pytest.fixture
def published(app: App) -> App:
    """An app of which version 1 streams and says what the draft says."""
    begin_publish(app)
    return app


def publish_shown(browser: Browser, app: App, reviewed: str) -> list[str]:
    """The messages after *Publish* on a page that has shown `reviewed`."""
    return messages_of(browser.post(url("app_publish", app.pk), {"reviewed": reviewed}, follow=True))


VIEW = ("view_app", "view_version", "view_table", "view_column")


@pytest.mark.parametrize(("page", "needed"), [("app_publish", VIEW), ("app_versions", VIEW[:2])])
def test_viewing_is_enough_to_see(published: App, page: str, needed: tuple[str, ...]) -> None:
    """A user who may view what a page shows sees difference and history; one who lacks any of it does not."""
    assert staff("grace", *needed).get(url(page, published.pk)).status_code == 200
    for missing in needed:
        user = staff(f"without {missing}", "view_client", *(each for each in needed if each != missing))
        assert user.get(url(page, published.pk)).status_code == 403


def test_publishing_needs_its_permission(app: App) -> None:
    """Without the permission there is no button, and a request for it is refused."""
    browser = staff("grace", *VIEW, "change_app")
    response = browser.get(url("app_publish", app.pk))
    assert "You may not publish this app." in response.content.decode()
    assert browser.post(url("app_publish", app.pk), {"reviewed": Review(app).digest}).status_code == 403
    assert not Version.objects.exists()


def test_what_was_shown_is_published(browser: Browser, app: App) -> None:
    """The draft that was reviewed becomes a version by the user."""
    response = browser.get(url("app_publish", app.pk))
    assert publish_shown(browser, app, response.context["reviewed"]) == ["Published version 1 of shop."]
    assert app.versions.get().published_by.username == "ada"


@pytest.mark.parametrize("reviewed", ["", "something else"])
def test_nothing_else_is_published(browser: Browser, app: App, reviewed: str) -> None:
    """A request that does not say what was reviewed publishes nothing."""
    [message] = publish_shown(browser, app, reviewed)
    assert "not what you were shown" in message
    assert not Version.objects.exists()


def test_an_edit_after_the_review_is_noticed(browser: Browser, app: App) -> None:
    """An edit between looking and publishing is found."""
    reviewed = browser.get(url("app_publish", app.pk)).context["reviewed"]
    Column.objects.filter(name="name").update(type="json")
    [message] = publish_shown(browser, app, reviewed)
    assert "not what you were shown" in message


def test_a_publish_under_way_is_reported(browser: Browser, published: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """While somebody else publishes for longer than one waits, one is told so, and nothing is published."""
    monkeypatch.setattr(publisher, "WAIT_SECONDS", 0.1)
    build_table(published, "land", {"_id": {}})
    Version.objects.create(app=published, number=2, definition=draft_definition(published).to_json())
    [message] = publish_shown(browser, published, Review(published).digest)
    assert message == "shop is already being published at this moment. Your draft was not published; look at it again."


def test_a_source_that_does_not_answer_is_reported(browser: Browser, published: App, settings) -> None:
    """The difference is shown without counts; publishing says that the source is unreachable, and changes nothing."""
    settings.CHANGESOURCE_SOURCES = {"default": "mongodb://127.0.0.1:9/shop"}
    build_table(published, "land", {"_id": {}})
    text = browser.get(url("app_publish", published.pk)).content.decode()
    assert "The number of documents is unknown" in text
    assert 'value="Publish"' in text
    [message, *_] = publish_shown(browser, published, Review(published).digest)
    assert "CS103" in message
    assert published.versions.count() == 1


def test_an_app_whose_source_has_no_uri_cannot_be_published(browser: Browser, app: App, settings) -> None:
    """An app whose source is not configured cannot be published, and the page says what to set."""
    settings.CHANGESOURCE_SOURCES = {}
    text = browser.get(url("app_publish", app.pk)).content.decode()
    assert "Set MONGODB_URI" in text
    assert 'value="Publish"' not in text


def test_a_problem_links_to_its_column(browser: Browser, app: App) -> None:
    """A problem is a link to the input of the column that has it."""
    Column.objects.filter(name="name").update(server_name="_0_version")
    response = browser.get(url("app_publish", app.pk))
    [problem] = response.context["problems"]
    assert problem.place == "city.name.server_name"
    assert problem.address == f"{url('table_change', app.tables.get().pk)}#id_columns-1-server_name"
    assert 'value="Publish"' not in response.content.decode()


@pytest.mark.parametrize("query", ["old=1&new=7", "old=1", "", "old=x&new=1", "old=-1&new=1", "old=²&new=1"])
def test_versions_that_do_not_exist_are_not_found(browser: Browser, published: App, query: str) -> None:
    """A version that an app does not have is not found."""
    assert browser.get(f"{url('app_compare', published.pk)}?{query}").status_code == 404


def test_a_version_replaces_the_draft(browser: Browser, published: App) -> None:
    """The draft then says what the version says."""
    published.tables.all().delete()
    address = url("app_restore", published.pk, 1)
    browser.post(address, {"reviewed": Review(published).digest})
    assert draft_definition(published).to_json() == published.versions.get().definition


def test_a_draft_that_was_edited_is_not_replaced(browser: Browser, published: App) -> None:
    """A draft that is not the one that was shown is not thrown away."""
    address = url("app_restore", published.pk, 1)
    reviewed = browser.get(address).context["reviewed"]
    build_table(published, "land", {"_id": {}})
    [message] = messages_of(browser.post(address, {"reviewed": reviewed}, follow=True))
    assert "changed while you looked at it" in message
    assert published.tables.filter(name="land").exists()


def test_restoring_needs_the_permission_to_edit(published: App) -> None:
    """Who may not change the app and its tables is refused, whatever else they may."""
    address = url("app_restore", published.pk, 1)
    assert staff("grace", *VIEW, "publish_app", "change_app").get(address).status_code == 403
    allowed = staff("joan", *VIEW, "change_app", "add_table", "delete_table")
    assert allowed.get(address).status_code == 200


@pytest.mark.parametrize("page", ["app_change", "app_publish", "app_versions"])
def test_every_page_of_an_app_shows_the_state(browser: Browser, published: App, page: str) -> None:
    """Each page of an app says what streams and whether the draft differs."""
    assert "The draft is the same." in browser.get(url(page, published.pk)).content.decode()
    build_table(published, "land", {"_id": {}})
    assert "The draft differs from version 1." in browser.get(url(page, published.pk)).content.decode()


def test_pages_of_tables_show_the_state(browser: Browser, published: App) -> None:
    """A table that is edited or added says of which draft it is; a strange address of one does no harm."""
    text = "You are editing the <strong>draft</strong>"
    assert text in browser.get(url("table_change", published.tables.get().pk)).content.decode()
    assert text in browser.get(f"{url('table_add')}?app={published.pk}").content.decode()
    for odd in ("?app=", "?app=99999", ""):
        assert text not in browser.get(url("table_add") + odd).content.decode()


def test_other_apps_are_apart(browser: Browser, published: App) -> None:
    """The history of an app holds its own versions only."""
    other = build_app("other")
    begin_publish(other)
    versions = browser.get(url("app_versions", other.pk)).context["versions"]
    assert [(version.app, state) for version, state in versions] == [(other, "streams")]


def test_a_problem_of_publications_links_to_the_app(browser: Browser, app: App) -> None:
    """It leads to their input on the page of the app."""
    App.objects.update(publications={"mobile": ["town"]})
    [problem] = browser.get(url("app_publish", app.pk)).context["problems"]
    assert problem.place == "publications"
    assert problem.address == f"{url('app_change', app.pk)}#id_publications"
    assert f'id="{problem.address.partition("#")[2]}"' in browser.get(url("app_change", app.pk)).content.decode()


def test_a_problem_of_filter_columns_links_to_the_table(browser: Browser, app: App) -> None:
    """It leads to their input on the page of the table."""
    app.tables.update(filter_columns=["town"])
    [problem] = browser.get(url("app_publish", app.pk)).context["problems"]
    address = url("table_change", app.tables.get().pk)
    assert (problem.place, problem.address) == ("city.filter_columns", f"{address}#id_filter_columns")
    assert 'id="id_filter_columns"' in browser.get(address).content.decode()


def test_the_review_explains_filter_columns(
    browser: Browser, published: App, mongo_server: MongoServer, settings
) -> None:
    """The page says what row filters can ask for, that nothing is read again, and which pre-images are switched on."""
    with default_source(mongo_server, settings):
        published.tables.update(filter_columns=["name"])
        published.publications = {"mobile": ["city"]}
        published.save()
        text = browser.get(url("app_publish", published.pk)).content.decode()
        assert "filter columns: <del>none</del> → <ins>name</ins>" in text
        assert "Row filters of clients can use name." in text
        assert "zero-caches can ask for the publication mobile: city." in text
        assert "Nothing: no rows are loaded again." in text
        assert "Pre-images are switched on for <code>city</code>" in text
        [message] = publish_shown(browser, published, Review(published).digest)
        assert message == "Published version 2 of shop."
        text = browser.get(f"{url('app_compare', published.pk)}?old=2&new=1").content.decode()
        assert "filter columns: <del>name</del> → <ins>none</ins>" in text
        assert "Row filters of clients can no longer use name." in text
        assert "Publication mobile is dropped" in text


def test_the_review_refuses_a_view(browser: Browser, app: App, mongo_server: MongoServer, settings) -> None:
    """A view is to be mended first, and the link leads to the collection of the table; there is no button."""
    with default_source(mongo_server, settings) as database:
        database.create_collection("city", viewOn="town", pipeline=[])
        response = browser.get(url("app_publish", app.pk))
        assert 'value="Publish"' not in response.content.decode()
        [problem] = response.context["problems"]
        assert problem.place == "city.collection"
        assert problem.address == f"{url('table_change', app.tables.get().pk)}#id_collection"
        [message] = publish_shown(browser, app, Review(app).digest)
        assert "is a view, which has no change stream" in message


def test_the_review_warns_of_a_missing_collection(
    browser: Browser, app: App, mongo_server: MongoServer, settings
) -> None:
    """The review and the action on the list say that there is no such collection yet, and publish all the same."""
    with default_source(mongo_server, settings):
        text = browser.get(url("app_publish", app.pk)).content.decode()
        assert "There is no collection &#x27;city&#x27; that the user of the source may read." in text
        assert 'value="Publish"' in text
        data = {"action": "publish_drafts", "_selected_action": app.pk}
        published, warning = messages_of(browser.post(url("app_changelist"), data, follow=True))
        assert published == "shop: published version 1."
        assert "There is no collection 'city'" in warning


@pytest.fixture
def filtered(published: App) -> App:
    """An app with a table whose rows a client gets by a filter, and one that another client was given by name."""
    build_table(published, "land", {"_id": {}})
    published.tables.filter(name="city").update(filter_columns=["name"])
    begin_publish(published, recorded=PreImages("default", frozenset({"city"})), resets=True)
    by_filter = Client.objects.create_for_apps("acme", [published])
    set_grant(by_filter, row_filters='{"city": {"name": "$client.city"}}')
    by_name = Client.objects.create_for_apps("zoo", [published])
    set_grant(by_name, all_tables=False, tables=["land"])
    return published


def test_the_review_names_a_client_that_would_be_cut_off(browser: Browser, filtered: App) -> None:
    """The review leads to the client, and there is no button; a request to publish is refused."""
    filtered.tables.update(filter_columns=[])
    response = browser.get(url("app_publish", filtered.pk))
    [problem] = response.context["problems"]
    assert (problem.place, problem.address) == (
        "Client acme",
        url("client_change", Client.objects.get(name="acme").pk),
    )
    assert "could no longer be evaluated" in response.content.decode()
    assert 'value="Publish"' not in response.content.decode()
    [message] = publish_shown(browser, filtered, Review(filtered).digest)
    assert "Client acme: " in message
    assert filtered.versions.count() == 2


def test_the_review_names_a_client_that_loses_a_table(browser: Browser, filtered: App) -> None:
    """The review warns of a table that a client was given by its name, and can be published all the same."""
    filtered.tables.filter(name="land").delete()
    text = browser.get(url("app_publish", filtered.pk)).content.decode()
    assert f'<a href="{url("client_change", Client.objects.get(name="zoo").pk)}">Client zoo</a>: It may read' in text
    assert 'value="Publish"' in text


def test_the_review_names_a_client_that_does_not_see_a_table(browser: Browser, filtered: App) -> None:
    """The review and the action say who will not see a new table, or one that reads other documents."""
    build_table(filtered, "payroll", {"_id": {}})
    filtered.tables.filter(name="land").update(collection="archive")
    text = browser.get(url("app_publish", filtered.pk)).content.decode()
    assert (
        "Client acme</a>: It will not see everything that is new. It has row filters, and none for &#x27;payroll&#x27;."
        in text
    )
    assert (
        "Client zoo</a>: Its grant means default.land by the table &#x27;land&#x27;. The table now reads default.archive"
        in text
    )
    filtered.tables.filter(name="city").update(filter_columns=["name"], collection="towns")
    data = {"action": "publish_drafts", "_selected_action": filtered.pk}
    [message] = messages_of(browser.post(url("app_changelist"), data, follow=True))
    assert "CS10" in message  # nothing was published, so nothing else is said


def test_one_look_reads_and_compiles_the_draft_once(
    browser: Browser, published: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The review page asks for the tables of the draft once, and compiles each table of the draft and of the version once."""
    build_table(published, "land", {"_id": {}})
    compiled: Counter[str] = Counter()
    compile_table = CompiledTable.__init__

    def count(self: CompiledTable, table: Table) -> None:
        compiled[table.name] += 1
        compile_table(self, table)

    monkeypatch.setattr(CompiledTable, "__init__", count)
    with CaptureQueriesContext(connection) as asked:
        assert browser.get(url("app_publish", published.pk)).status_code == 200
    for model in ("table", "column"):
        assert sum(f'FROM "changesource_{model}"' in query["sql"] for query in asked.captured_queries) == 1
    assert compiled == {"city": 2, "land": 1}
    assert len(asked) <= MAX_REVIEW_QUERIES
