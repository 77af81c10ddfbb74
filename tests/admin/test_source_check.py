"""The page that checks the source of an app."""

from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client as Browser

from changesource.models import App
from changesource.publishing.versions import begin_publish
from tests.admin.pages import url
from tests.mongo.impatience import do_not_wait
from zerosources.embedded.ports import free_port
from zerosources.embedded.servers import MongoServer


def page(app: App) -> str:
    return url("app_check_source", app.pk)


def member_of_staff(*permissions: str) -> Browser:
    user = User.objects.create_user("grace", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    browser = Browser()
    browser.force_login(user)
    return browser


def test_the_page_of_an_app_links_to_the_check(browser: Browser, app: App) -> None:
    """The page of the app leads to it."""
    assert f'href="{page(app)}"' in browser.get(url("app_change", app.pk)).content.decode()


def test_viewing_an_app_is_enough(settings: Any, mongo_server: MongoServer, app: App) -> None:
    """Who may view apps sees each check with its status."""
    settings.CHANGESOURCE_SOURCES = {"default": mongo_server.uri("check_page")}
    begin_publish(app)
    response = member_of_staff("view_app").get(page(app))
    assert response.status_code == 200
    names = [result.name for result in response.context["check"].results]
    assert {"server", "privilege find", "images of shop: city", "oplog window", "clock"} < set(names)
    for name in names:
        assert f'<th scope="row">{name}</th>' in response.content.decode()


def test_an_unreachable_source_is_an_error(
    settings: Any, browser: Browser, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page says so, without host and password."""
    do_not_wait(monkeypatch)
    settings.CHANGESOURCE_SOURCES = {"default": f"mongodb://user:secret@127.0.0.1:{free_port()}/shop"}
    text = browser.get(page(app)).content.decode()
    assert "CS103" in text
    assert "cannot be used as it is, 1 error" in text
    assert "secret" not in text
    assert "127.0.0.1" not in text


def test_a_user_who_may_not_view_the_app_is_refused(app: App) -> None:
    """Everybody else is refused."""
    assert member_of_staff("view_table").get(page(app)).status_code == 403


def test_an_unknown_app_is_not_found(browser: Browser, app: App) -> None:
    """An app that is not there has no source."""
    assert browser.get(url("app_check_source", app.pk + 1)).status_code == 404
