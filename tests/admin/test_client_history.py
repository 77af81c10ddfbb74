"""The pages that say who changed what of clients."""

import pytest

from changesource.models import App, Client, Credential, Grant
from tests.admin.pages import ClientPage, client_data, url


@pytest.fixture
def client(app: App) -> Client:
    return Client.objects.create_for_apps("cache", [app])


def rows(browser, page: str, *args: object) -> list[tuple[str, str, str, list[tuple[str, str, str]]]]:
    """Of each change: who, of which client, what, and the fields with what was and is; the newest first."""
    changes = browser.get(url(page, *args)).context["changes"]
    return [
        (
            change.user,
            change.client,
            f"{change.subject} {change.what}",
            [(field.field, field.old, field.new) for field in change.fields],
        )
        for change in changes
    ]


def test_the_history_shows_old_and_new_values(browser, client: Client) -> None:
    """What was and what is, of the client and its grant, with the user who sent the page."""
    grant = client.grants.get()
    data = client_data({"id": grant.pk, "shards": "0"}, name="acme", attributes='{"tenant": "acme"}')
    assert ClientPage(browser, data, client).saved
    found = rows(browser, "client_history", client.pk)
    assert ("ada", "acme", "grant for shop changed", [("shards", "", "0")]) in found[:2]
    changed = [("name", "cache", "acme"), ("attributes", "", '{"tenant": "acme"}')]
    assert ("ada", "acme", "client changed", changed) in found[:2]
    assert [(user, what) for user, _, what, _ in found[2:]] == [("", "grant for shop created"), ("", "client created")]


def test_saving_without_a_change_shows_no_difference(browser, client: Client) -> None:
    """A page that is sent as it was leaves no difference."""
    before = rows(browser, "client_history", client.pk)
    assert ClientPage(browser, client_data({"id": client.grants.get().pk}), client).saved
    assert [row for row in rows(browser, "client_history", client.pk) if row[3]] == [row for row in before if row[3]]


def test_changes_of_credentials_are_shown(browser, client: Client) -> None:
    """Issuing and revoking say who and which, and nothing of the token."""
    browser.post(url("client_issue", client.pk), {"label": "east", "after": ""})
    browser.post(url("client_revoke", client.pk, client.credentials.get().pk))
    revoked, issued, *_ = rows(browser, "client_history", client.pk)
    assert issued == ("ada", "cache", "credential east created", [("label", "", "east")])
    assert revoked[:3] == ("ada", "cache", "credential east changed")
    assert [field for field, _, _ in revoked[3]] == ["revoked"]


def test_the_changes_of_a_deleted_client_are_shown(browser, client: Client) -> None:
    """What was deleted, with all that went with it, is found among the changes of all clients."""
    Credential.objects.issue(client, "east")
    browser.post(url("client_delete", client.pk), {"post": "yes"})
    assert not Grant.objects.exists()
    assert browser.get(url("client_history", client.pk)).status_code in (302, 404)
    deleted = {what: user for user, name, what, _ in rows(browser, "client_changes") if what.endswith("deleted")}
    assert deleted == dict.fromkeys(["client deleted", "grant for shop deleted", "credential east deleted"], "ada")


def test_a_deleted_user_is_still_named(browser, user, client: Client) -> None:
    """Who did something has done it, also after their account was deleted."""
    browser.post(url("client_issue", client.pk), {"label": "east", "after": ""})
    other = type(user).objects.create_superuser("grace")
    user.delete()
    browser.force_login(other)
    assert rows(browser, "client_history", client.pk)[0][0] == "ada"


def test_text_is_escaped(browser, client: Client) -> None:
    """What users wrote is shown as text."""
    data = client_data({"id": client.grants.get().pk}, name="<b>acme</b>")
    assert ClientPage(browser, data, client).saved
    text = browser.get(url("client_changes")).content.decode()
    assert "&lt;b&gt;acme&lt;/b&gt;" in text
    assert "<b>acme</b>" not in text


def test_the_page_needs_few_queries(browser, client: Client, django_assert_max_num_queries) -> None:
    """However many changes there are."""
    for number in range(40):
        client.name = f"cache {number}"
        client.save()
    with django_assert_max_num_queries(20):
        assert len(rows(browser, "client_changes")) == 42
