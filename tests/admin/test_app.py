"""The pages of apps, and publishing."""

from typing import Any

import pytest
from django.contrib.auth.backends import BaseBackend
from django.contrib.auth.models import Permission, User
from django.test import Client as Browser

from changesource.models import App, Column, Version
from changesource.operations import publisher
from changesource.publishing.collection_problems import CollectionProblems
from tests.admin.pages import messages_of, url
from tests.models.builders import build_app, publish


class OwnAppsBackend(BaseBackend):
    """Lets Grace publish the app `shop` and no other."""

    def has_perm(self, user_obj: Any, perm: str, obj: Any = None) -> bool:
        return perm == "changesource.publish_app" and obj is not None and obj.app_id == "shop"


@pytest.fixture(autouse=True)
def every_collection_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no source here that could say it."""
    monkeypatch.setattr(publisher, "find_collection_problems", lambda _: CollectionProblems())


@pytest.fixture
def grace(db) -> Browser:
    """A member of staff who may view and edit apps, and not publish them."""
    user = User.objects.create_user("grace", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=["view_app", "change_app"]))
    browser = Browser()
    browser.force_login(user)
    return browser


def app_data(app: App | None = None, **changes: Any) -> dict[str, Any]:
    """What the page of an app sends."""
    data = {"app_id": "shop", "source": "default", "relationships": "{}", **changes}
    if app:
        table = app.tables.get()
        data |= {"tables-TOTAL_FORMS": 1, "tables-INITIAL_FORMS": 1}
        data |= {"tables-0-id": table.pk, "tables-0-app": app.pk, "tables-0-position": 7}
    return data


def publish_selected(browser: Browser, *apps: App) -> list[str]:
    """The messages after the action *Publish*."""
    data = {"action": "publish_drafts", "_selected_action": [app.pk for app in apps]}
    return messages_of(browser.post(url("app_changelist"), data, follow=True))


def test_a_new_app_is_created(browser) -> None:
    """An app is created from its page."""
    assert browser.post(url("app_add"), app_data(relationships="")).status_code == 302
    app = App.objects.get()
    assert (app.app_id, app.source, app.relationships) == ("shop", "default", {})


@pytest.mark.parametrize("app_id", ["", "My Shop", "x" * 64, "ä", "shop\x00"])
def test_a_bad_app_id_is_refused(browser, app_id: str) -> None:
    """An app id that Zero refuses is refused at its input."""
    response = browser.post(url("app_add"), app_data(app_id=app_id))
    assert list(response.context["adminform"].form.errors) == ["app_id"]


@pytest.mark.parametrize(
    "text", ["{", "[]", "1", '""', "NaN", '{"a": NaN}', '{"a": "\\u0000"}', "9" * 5_000, "[" * 100_000, '{"a": 1e999}']
)
def test_bad_relationships_are_refused(browser, text: str) -> None:
    """What is no JSON object, or could not be stored, is refused at its input."""
    response = browser.post(url("app_add"), app_data(relationships=text))
    assert list(response.context["adminform"].form.errors) == ["relationships"]


def test_publications_of_an_app_are_edited_on_its_page(browser, app: App) -> None:
    """No text means no publications."""
    page = url("app_change", app.pk)
    assert browser.post(page, app_data(app, publications='{"mobile": ["city"]}')).status_code == 302
    assert App.objects.get().publications == {"mobile": ["city"]}
    assert "&quot;mobile&quot;: [" in browser.get(page).content.decode()
    assert browser.post(page, app_data(app, publications="")).status_code == 302
    assert App.objects.get().publications == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Enter a valid JSON."),
        ('["city"]', "Write a JSON object"),
        ("[]", "Write a JSON object"),
        ("0", "Write a JSON object"),
        ('{"mobile": ["city", "town"]}', "mobile: There is no table 'town'."),
        ('{"_mobile": ["city"]}', "_mobile: A name consists of letters"),
        ('{"a": "\\u0000"}', "Enter a valid JSON."),
    ],
)
def test_bad_publications_are_refused(browser, app: App, text: str, message: str) -> None:
    """What is wrong is said at their input, and nothing is saved."""
    response = browser.post(url("app_change", app.pk), app_data(app, publications=text))
    [(field, [found])] = response.context["adminform"].form.errors.items()
    assert field == "publications"
    assert found.startswith(message)
    assert App.objects.get().publications == {}


def test_relationships_are_shown_indented(browser, app: App) -> None:
    """JSON is shown for people, in every script."""
    App.objects.update(relationships={"città": {}})
    text = browser.get(url("app_change", app.pk)).content.decode()
    assert "{\n  &quot;città&quot;: {}\n}" in text


def test_a_configured_source_is_chosen(browser) -> None:
    """Sources that are configured can be chosen, others not."""
    response = browser.get(url("app_add"))
    assert response.context["adminform"].form.fields["source"].choices == [("default", "default")]
    response = browser.post(url("app_add"), app_data(source="archive"))
    assert list(response.context["adminform"].form.errors) == ["source"]


def test_a_source_that_is_no_longer_configured_is_kept(browser, app: App) -> None:
    """The source of a stored app is kept when it is no longer configured, and marked so."""
    App.objects.update(source="archive")
    text = browser.get(url("app_change", app.pk)).content.decode()
    assert "archive (not configured)" in text
    assert browser.post(url("app_change", app.pk), app_data(app, source="archive")).status_code == 302


def test_a_uri_is_never_shown(browser, app: App) -> None:
    """No page holds anything of a source's URI."""
    for address in (url("app_changelist"), url("app_change", app.pk), url("app_add")):
        text = browser.get(address).content.decode()
        assert "mongodb://" not in text
        assert "secret" not in text


def test_the_page_links_to_tables(browser, app: App) -> None:
    """The page of an app lists its tables with links, and leads to a new one."""
    text = browser.get(url("app_change", app.pk)).content.decode()
    assert url("table_change", app.tables.get().pk) in text
    assert f"{url('table_add')}?app={app.pk}" in text


def test_tables_can_be_reordered(browser, app: App) -> None:
    """The positions of tables are edited on the page of the app."""
    assert browser.post(url("app_change", app.pk), app_data(app)).status_code == 302
    assert app.tables.get().position == 7


def test_the_app_id_of_a_published_app_is_fixed(browser, app: App) -> None:
    """The app id stays once zero-caches may know it."""
    publish(app)
    assert browser.post(url("app_change", app.pk), app_data(app, app_id="other")).status_code == 302
    assert App.objects.get().app_id == "shop"


def test_the_list_tells_draft_and_version_apart(browser, app: App) -> None:
    """The list says of each app whether its draft streams."""
    publish(build_app("published"))
    changed = build_app("changed")
    publish(changed)
    Column.objects.filter(table__app=changed, name="name").delete()
    text = browser.get(url("app_changelist")).content.decode()
    for state in ("never published", "version 1", "draft differs from version 1"):
        assert f'<td class="field-state">{state}</td>' in text


def test_the_action_publishes_the_selected_apps(browser, user: User, app: App) -> None:
    """The action publishes the selected apps, in the user's name, and says the numbers."""
    other = build_app("other")
    assert publish_selected(browser, app, other) == ["other: published version 1.", "shop: published version 1."]
    assert {version.published_by for version in Version.objects.all()} == {user}


def test_an_unchanged_draft_is_not_published(browser, app: App) -> None:
    """A draft that streams already is not published again, and that is said."""
    publish(app)
    assert publish_selected(browser, app) == ["shop: the draft is the same as version 1; there is nothing to publish."]


def test_a_draft_with_problems_is_not_published(browser, app: App) -> None:
    """A refusal lists each problem; other apps are published all the same."""
    Column.objects.filter(table__app=app).update(type="json", name="<b>")
    refused, published = publish_selected(browser, app, build_app("xother"))
    assert "city.&lt;b&gt;.name: " in refused
    assert "city.primary_key: " in refused
    assert published == "xother: published version 1."


def test_a_draft_with_an_unknown_source_is_not_published(browser, app: App) -> None:
    """So does a source that is not configured."""
    App.objects.update(source="archive")
    [message] = publish_selected(browser, app)
    assert "MONGODB_URI_ARCHIVE" in message


def test_publishing_needs_permission(grace: Browser, app: App) -> None:
    """Who may only edit does not publish."""
    publish_selected(grace, app)
    assert not Version.objects.exists()


def test_the_permission_for_all_apps_is_enough(grace: Browser, app: App) -> None:
    """The permission for all apps is enough."""
    User.objects.get(username="grace").user_permissions.add(Permission.objects.get(codename="publish_app"))
    assert publish_selected(grace, app) == ["shop: published version 1."]


def test_the_permission_for_one_app_is_enough_for_it(grace: Browser, app: App, settings) -> None:
    """A backend may grant the permission for single apps."""
    settings.AUTHENTICATION_BACKENDS = [
        "django.contrib.auth.backends.ModelBackend",
        f"{OwnAppsBackend.__module__}.{OwnAppsBackend.__qualname__}",
    ]
    assert publish_selected(grace, app, build_app("other")) == [
        "other: you may not publish this app.",
        "shop: published version 1.",
    ]


def test_a_publish_is_logged(browser, app: App) -> None:
    """The history of an app says who published what."""
    publish_selected(browser, app)
    text = browser.get(url("app_history", app.pk)).content.decode()
    assert "Published version 1." in text


def test_an_app_is_deleted_with_its_versions(browser, app: App) -> None:
    """An app is deleted with its versions, which cannot be deleted alone."""
    publish(app)
    browser.post(url("app_delete", app.pk), {"post": "yes"})
    assert not App.objects.exists()


def test_viewing_an_app_is_enough_to_see_its_page(db, app: App) -> None:
    """Who may only view sees the page of an app."""
    user = User.objects.create_user("mary", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    browser = Browser()
    browser.force_login(user)
    for page, pk in (("app_change", app.pk), ("table_change", app.tables.get().pk)):
        assert browser.get(url(page, pk)).status_code == 200
