"""Who may see and do what: every page of admin for every ready-made group."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, Permission, User
from django.core.management import call_command
from django.test import Client as Browser
from django.utils import timezone

from changesource.models import (
    App,
    AwaitedReplica,
    Client,
    Credential,
    Grant,
    Refusal,
    Replica,
    RowErrorRecord,
    RunningSnapshot,
    Version,
)
from changesource.models.roles import GROUPS
from changesource.publishing.release import PreImages
from changesource.publishing.review import Review
from tests.admin.pages import ClientPage, client_data, table_data, url
from tests.models.builders import build_table, publish, set_grant
from tests.simulation.sources import default_source
from zerosources.embedded.servers import MongoServer

VIEWERS, EDITORS, PUBLISHERS, MANAGERS = "Zero viewers", "Zero editors", "Zero publishers", "Zero client managers"
NOBODY: frozenset[str] = frozenset()
READERS = frozenset({VIEWERS, EDITORS, PUBLISHERS})
ALL = READERS | {MANAGERS}
EDIT = frozenset({EDITORS})
MANAGE = frozenset({MANAGERS})


def pages(model: str, view: frozenset[str], **others: frozenset[str]) -> dict[str, frozenset[str]]:
    """Page → groups, for the pages that every model has."""
    by_page = dict.fromkeys(["changelist", "change", "history"], view) | {"add": NOBODY, "delete": NOBODY} | others
    return {f"{model}_{page}": groups for page, groups in by_page.items()}


SEEN_BY: dict[str, frozenset[str]] = {
    **pages(
        "app",
        ALL,
        add=EDIT,
        publish=READERS,
        versions=ALL,
        compare=ALL,
        check_source=ALL,
        restore=EDIT,
        queries=READERS,
    ),
    **pages("table", READERS, add=EDIT, delete=EDIT, preview=READERS, rules=READERS),
    **pages("version", ALL),
    **pages("replica", ALL),
    **pages("awaitedreplica", ALL),
    **pages("rowerrorrecord", READERS),
    **pages("runningsnapshot", ALL),
    **pages(
        "client", MANAGE, add=MANAGE, delete=MANAGE, changes=MANAGE, issue=MANAGE, revoke=MANAGE, revoke_others=MANAGE
    ),
    **pages("refusal", MANAGE),
}
"""Every page, and the groups that get it; the others are refused."""


@pytest.fixture(autouse=True)
def unreachable_source(settings) -> None:
    settings.CHANGESOURCE_SOURCES = {"default": "mongodb://127.0.0.1:9/shop?serverSelectionTimeoutMS=1"}


@pytest.fixture
def records(app: App) -> dict[str, Any]:
    """One of each model; the client has two credentials, so that there is one to revoke."""
    now = timezone.now()
    client = Client.objects.create_for_apps("cache", [app])
    return {
        "credential": Credential.objects.issue(client)[0],
        "newest_credential": Credential.objects.issue(client)[0],
        "app": app,
        "table": app.tables.get(),
        "version": publish(app),
        "client": client,
        "replica": Replica.objects.create(
            app=app, shard_num=0, replica_version="5abc", version_number=1, last_seen_at=now
        ),
        "awaitedreplica": AwaitedReplica.objects.create(
            app=app, client=client, shard_num=0, is_fault=True, told_at=now
        ),
        "rowerrorrecord": RowErrorRecord.objects.create(app=app, first_seen=now, last_seen=now),
        "runningsnapshot": RunningSnapshot.objects.create(
            app=app, client=client, shard_num=0, asked_at=now, noted_at=now
        ),
        "refusal": Refusal.objects.create(address="::1", code=4401, count=1, first_seen=now, last_seen=now),
    }


def browser_of(*groups: str, is_staff: bool = True, permissions: tuple[str, ...] = ()) -> Browser:
    """Somebody's who is in these groups and has these permissions."""
    user = User.objects.create_user(" ".join(groups) or "grace", is_staff=is_staff)
    user.groups.set(Group.objects.filter(name__in=groups))
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    browser = Browser()
    browser.force_login(user)
    return browser


def address(page: str, records: dict[str, Any]) -> str:
    model, _, name = page.partition("_")
    if name in ("changelist", "add", "changes"):
        return url(page)
    arguments = {"app_restore": [1], "client_revoke": [records["credential"].pk]}.get(page, [])
    query = "?old=1&new=1" if page == "app_compare" else ""
    return url(page, records[model].pk, *arguments) + query


def test_every_page_has_its_line() -> None:
    """No page of this project's admin is left out of the table above."""
    names = {
        pattern.name
        for model, model_admin in admin.site._registry.items()
        if model._meta.app_label == "changesource"
        for pattern in model_admin.get_urls()
        if pattern.name
    }
    assert {name.removeprefix("changesource_") for name in names} == SEEN_BY.keys()


@pytest.mark.parametrize("group", sorted(GROUPS))
def test_a_group_gets_its_pages_and_no_others(
    records: dict[str, Any], group: str, settings, mongo_server: MongoServer
) -> None:
    """Also those that ask the source."""
    settings.CHANGESOURCE_SOURCES = {"default": mongo_server.uri("roles")}
    browser = browser_of(group)
    found = {page: browser.get(address(page, records)).status_code for page in SEEN_BY}
    assert found == {page: 200 if group in groups else 403 for page, groups in SEEN_BY.items()}


NAMED_CLIENT, FILTER, ATTRIBUTE, DRAFT_TABLE, DRAFT_RELATION = (
    "acme_client",
    "a_value_of_a_filter",
    "a_value_of_an_attribute",
    "table_of_the_draft",
    "of_version_1",
)
SHOWN_TO: dict[str, frozenset[str]] = {
    NAMED_CLIENT: MANAGE,
    FILTER: MANAGE,
    ATTRIBUTE: MANAGE,
    DRAFT_TABLE: READERS,
    DRAFT_RELATION: ALL,
}
"""What a page or a file may hold, and the groups that may see it, wherever it stands."""
NAMES_CLIENTS = {
    f"{model}_{page}" for model in ("replica", "awaitedreplica", "runningsnapshot") for page in ("changelist", "change")
} | {"replica_history", "awaitedreplica_history", "runningsnapshot_history", "snapshots"}
"""Where the name of a client stands beside what it has built, for all groups."""
FILES: dict[str, frozenset[str]] = {
    "schema": ALL,
    "schema?version=1": ALL,
    "schema?version=draft": READERS,
    "schema?version=draft&format=typescript": READERS,
    "schema?version=draft&format=permissions-json": READERS,
    "snapshots": ALL,
}
"""What the API gives, and the groups that get it."""


@pytest.fixture
def marked(records: dict[str, Any]) -> dict[str, Any]:
    """The records, with texts of which each stands for something that not every group may see. A publish of the draft would
    cut the client off."""
    app, client = records["app"], records["client"]
    app.tables.update(collection=DRAFT_RELATION, filter_columns=["name"])
    records["version"] = publish(app, recorded=PreImages("default", frozenset({DRAFT_RELATION})), resets=True)
    Client.objects.filter(pk=client.pk).update(name=NAMED_CLIENT, attributes={"a": ATTRIBUTE})
    set_grant(client, row_filters=json.dumps({"city": {"name": FILTER}}))
    for model in ("replica", "awaitedreplica", "runningsnapshot"):
        records[model].client = client
        records[model].save()
    build_table(app, DRAFT_TABLE, {"_id": {}})
    return records


def found_texts(browser: Browser, places: dict[str, str]) -> dict[str, set[str]]:
    """Which of the texts stand at which of the addresses, as far as they are answered."""
    answered = {place: browser.get(address) for place, address in places.items()}
    bodies = {place: response.content.decode() for place, response in answered.items() if response.status_code == 200}
    return {place: {text for text in SHOWN_TO if text in body} for place, body in bodies.items()}


@pytest.mark.parametrize("group", sorted(GROUPS))
@pytest.mark.parametrize("is_refused", [False, True])
def test_no_page_shows_what_its_reader_may_not_see(
    marked: dict[str, Any], group: str, is_refused: bool, settings, mongo_server: MongoServer
) -> None:
    """No page and no file holds what its reader may not see, also while a publish would be refused for a client's filter; and
    what a group may see, it sees somewhere."""
    settings.CHANGESOURCE_SOURCES = {"default": mongo_server.uri("roles")}
    if is_refused:
        marked["app"].tables.filter(name="city").update(filter_columns=[])
    browser = browser_of(group)
    places = {page: address(page, marked) for page in SEEN_BY} | {file: f"/api/apps/shop/{file}" for file in FILES}
    found = found_texts(browser, places)
    assert found.keys() & FILES.keys() == {file for file, groups in FILES.items() if group in groups}
    for place, texts in found.items():
        allowed = {text for text, groups in SHOWN_TO.items() if group in groups}
        assert texts <= allowed | ({NAMED_CLIENT} if place in NAMES_CLIENTS else set()), place
    seen = set().union(*found.values())
    assert {text for text, groups in SHOWN_TO.items() if group in groups} <= seen


@pytest.mark.parametrize("group", sorted(GROUPS))
def test_documents_are_shown_to_those_who_may_see_tables(
    records: dict[str, Any], group: str, settings, mongo_server: MongoServer
) -> None:
    """By the pages that ask for claims, too."""
    records["app"].tables.update(permissions='{"select": [{}]}')
    App.objects.update(queries={"all": {"table": "city"}})
    publish(records["app"])
    with default_source(mongo_server, settings) as database:
        database.city.insert_one({"_id": "a_document"})
        browser = browser_of(group)
        asked = {"query": "all", "documents": 1}
        answers = [
            browser.get(address("table_preview", records)),
            browser.post(address("table_rules", records), {"action": "select"}),
            *(browser.post(address("app_queries", records), {**asked, "state": state}) for state in ("draft", "2")),
        ]
    assert [("a_document" in each.content.decode()) for each in answers] == [group in READERS] * 4


@pytest.mark.parametrize("name", ["publish_drafts", ""])
def test_a_refused_publish_names_no_client_to_a_user_who_may_not_see_clients(marked: dict[str, Any], name: str) -> None:
    """Neither the button nor the action does."""
    marked["app"].tables.filter(name="city").update(filter_columns=[])
    browser, app = browser_of(PUBLISHERS), marked["app"]
    if name:
        data = {"action": name, "_selected_action": app.pk}
        response = browser.post(url("app_changelist"), data, follow=True)
    else:
        data = {"reviewed": Review(app).digest}
        response = browser.post(url("app_publish", app.pk), data, follow=True)
    assert Version.objects.count() == 2
    assert "Row filters of clients could not be evaluated" in response.content.decode()
    assert NAMED_CLIENT not in response.content.decode()


def test_staff_without_a_permission_get_no_page(records: dict[str, Any]) -> None:
    browser = browser_of()
    assert {browser.get(address(page, records)).status_code for page in SEEN_BY} == {403}


def test_a_user_who_is_not_staff_has_to_log_in(records: dict[str, Any]) -> None:
    """Whatever groups the user is in."""
    outsider = browser_of(*GROUPS, is_staff=False)
    for browser in (outsider, Browser()):
        for page in SEEN_BY:
            response = browser.get(address(page, records))
            assert (response.status_code, "/login/" in response.url) == (302, True)


def publishes(browser: Browser, records: dict[str, Any]) -> bool:
    app = records["app"]
    app.tables.update(collection="towns")
    browser.post(url("app_publish", app.pk), {"reviewed": Review(app).digest, "resets": "on"})
    return Version.objects.count() > 1


def publishes_by_action(browser: Browser, records: dict[str, Any]) -> bool:
    Version.objects.all().delete()
    browser.post(url("app_changelist"), {"action": "publish_drafts", "_selected_action": records["app"].pk})
    return Version.objects.exists()


def edits_a_table(browser: Browser, records: dict[str, Any]) -> bool:
    browser.post(url("table_add"), table_data(records["app"], {"name": "_id"}))
    return records["app"].tables.filter(name="country").exists()


def deletes_a_table(browser: Browser, records: dict[str, Any]) -> bool:
    browser.post(url("table_delete", records["table"].pk), {"post": "yes"})
    return not records["app"].tables.exists()


def edits_an_app(browser: Browser, records: dict[str, Any]) -> bool:
    browser.post(url("app_add"), {"app_id": "new", "source": "default", "relationships": "{}"})
    return App.objects.filter(app_id="new").exists()


def deletes_an_app(browser: Browser, records: dict[str, Any]) -> bool:
    browser.post(url("app_delete", records["app"].pk), {"post": "yes"})
    return not App.objects.exists()


def puts_a_version_into_the_draft(browser: Browser, records: dict[str, Any]) -> bool:
    app = records["app"]
    app.tables.update(collection="towns")
    browser.post(url("app_restore", app.pk, 1), {"reviewed": Review(app).digest})
    return app.tables.get().collection == ""


def makes_a_client(browser: Browser, records: dict[str, Any]) -> bool:
    browser.post(url("client_add"), client_data({"app": records["app"].pk}, name="new"))
    return Client.objects.filter(name="new").exists()


def confirms_a_grant(browser: Browser, records: dict[str, Any]) -> bool:
    set_grant(records["client"], row_filters='{"city": {}}')
    Grant.objects.update(origins={"city": "default.elsewhere"})
    browser.post(url("client_changelist"), {"action": "confirm_grants", "_selected_action": records["client"].pk})
    return Grant.objects.get().origins == {"city": "default.city"}


def changes_a_grant(browser: Browser, records: dict[str, Any]) -> bool:
    data = client_data({"id": Grant.objects.get().pk, "shards": "7"})
    browser.post(url("client_change", records["client"].pk), data)
    return Grant.objects.get().shards == "7"


def deletes_a_client(browser: Browser, records: dict[str, Any]) -> bool:
    browser.post(url("client_delete", records["client"].pk), {"post": "yes"})
    return not Client.objects.exists()


def issues_a_token(browser: Browser, records: dict[str, Any]) -> bool:
    browser.post(url("client_issue", records["client"].pk), {"after": records["newest_credential"].pk})
    return Credential.objects.count() > 2


def revokes_a_credential(browser: Browser, records: dict[str, Any]) -> bool:
    browser.post(url("client_revoke", records["client"].pk, records["credential"].pk))
    return Credential.objects.valid().count() < 2


def revokes_all_but_the_newest(browser: Browser, records: dict[str, Any]) -> bool:
    browser.post(url("client_revoke_others", records["client"].pk))
    return Credential.objects.valid().count() < 2


DONE_BY: dict[Callable[[Browser, dict[str, Any]], bool], frozenset[str]] = {
    publishes: frozenset({PUBLISHERS}),
    publishes_by_action: frozenset({PUBLISHERS}),
    edits_a_table: EDIT,
    deletes_a_table: EDIT,
    edits_an_app: EDIT,
    deletes_an_app: NOBODY,
    puts_a_version_into_the_draft: EDIT,
    makes_a_client: MANAGE,
    changes_a_grant: MANAGE,
    confirms_a_grant: MANAGE,
    deletes_a_client: MANAGE,
    issues_a_token: MANAGE,
    revokes_a_credential: MANAGE,
    revokes_all_but_the_newest: MANAGE,
}
"""Every POST that does something, and the groups that can do it."""


@pytest.mark.parametrize("group", [*sorted(GROUPS), ""])
@pytest.mark.parametrize("act", DONE_BY, ids=lambda act: act.__name__)
def test_a_group_can_do_what_it_is_for_and_nothing_else(
    records: dict[str, Any], act: Callable[[Browser, dict[str, Any]], bool], group: str
) -> None:
    """Whatever it sends."""
    assert act(browser_of(group), records) == (group in DONE_BY[act])


@pytest.mark.parametrize("act", DONE_BY, ids=lambda act: act.__name__)
def test_a_superuser_can_do_everything(
    browser: Browser, records: dict[str, Any], act: Callable[[Browser, dict[str, Any]], bool]
) -> None:
    """So what is refused above is refused for lack of a permission."""
    assert act(browser, records)


class TestViewingClients:
    """Who may only view clients."""

    PERMISSIONS = ("view_client", "view_grant", "view_credential")

    def test_the_page_of_a_client_has_no_inputs_and_no_buttons(self, records: dict[str, Any]) -> None:
        browser = browser_of(permissions=self.PERMISSIONS)
        text = browser.get(url("client_change", records["client"].pk)).content.decode()
        assert "Nothing yet: the client has not connected" in text
        for absent in ("Issue a token", "Revoke all", ">Revoke</a>", 'name="grants-0-shards"', 'name="_save"'):
            assert absent not in text

    @pytest.mark.parametrize("act", [act for act, groups in DONE_BY.items() if groups == MANAGE])
    def test_they_change_nothing(self, records: dict[str, Any], act: Callable[[Browser, dict[str, Any]], bool]) -> None:
        assert not act(browser_of(permissions=self.PERMISSIONS), records)

    def test_changing_clients_is_not_changing_grants(self, records: dict[str, Any]) -> None:
        """A grant, and a token, takes a permission of its own."""
        browser = browser_of(permissions=("view_client", "change_client", "view_grant", "view_credential"))
        assert ClientPage(browser, client_data({"id": Grant.objects.get().pk}, name="new"), records["client"]).saved
        assert Client.objects.get().name == "new"
        for act in (
            changes_a_grant,
            confirms_a_grant,
            issues_a_token,
            revokes_a_credential,
            revokes_all_but_the_newest,
        ):
            assert not act(browser, records)


@pytest.mark.django_db
class TestGroups:
    def test_the_groups_exist_after_migrating(self) -> None:
        """With their permissions."""
        for name, codenames in GROUPS.items():
            assert set(Group.objects.get(name=name).permissions.values_list("codename", flat=True)) == codenames

    def test_a_later_migration_creates_missing_groups_and_changes_no_others(self) -> None:
        Group.objects.get(name=VIEWERS).delete()
        Group.objects.get(name=EDITORS).permissions.clear()
        call_command("migrate", verbosity=0)
        assert Group.objects.get(name=VIEWERS).permissions.count() == len(GROUPS[VIEWERS])
        assert not Group.objects.get(name=EDITORS).permissions.exists()

    def test_no_group_is_created_while_a_permission_is_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It would stay without that permission."""
        monkeypatch.setitem(GROUPS, VIEWERS, GROUPS[VIEWERS] | {"view_nothing"})  # type: ignore[arg-type]
        Group.objects.all().delete()
        call_command("migrate", verbosity=0)
        assert not Group.objects.exists()
