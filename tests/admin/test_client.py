"""The pages of clients: what they show, take and refuse."""

from datetime import timedelta

import pytest
from django.utils import timezone

from changesource.models import App, Client, Credential, Replica
from tests.admin.pages import ClientPage, client_data, url


@pytest.fixture
def client(app: App) -> Client:
    return Client.objects.create_for_apps("cache", [app])


def test_a_new_client_needs_a_token_next(browser, app: App) -> None:
    """What is written is stored, and the next page is that which issues a token."""
    data = client_data({"app": app.pk}, name="acme", attributes='{"tenant": "acme"}')
    page = ClientPage(browser, data)
    client = Client.objects.get()
    assert (client.name, client.attributes, client.is_active) == ("acme", {"tenant": "acme"}, True)
    assert [(grant.app, grant.all_tables) for grant in client.grants.all()] == [(app, True)]
    assert page.address == url("client_issue", client.pk)


def test_each_field_can_be_changed(browser, client: Client) -> None:
    """Each field can be changed; credentials and grants stay as they are."""
    credential, _ = Credential.objects.issue(client, "east")
    grant = client.grants.get()
    data = client_data(
        {"id": grant.pk},
        credentials=[credential],
        name="renamed",
        is_active="",
        expires_at_0="2030-01-02",
        expires_at_1="03:04:05",
    )
    assert ClientPage(browser, data, client).saved
    client.refresh_from_db()
    assert (client.name, client.is_active, client.expires_at.year) == ("renamed", False, 2030)
    assert client.grants.get().access() == grant.access()
    stored = client.credentials.get()
    assert (stored.lookup, stored.label) == (credential.lookup, "east")


@pytest.mark.parametrize("name", ["", "cache", "a\tb", "a\u202eb", "a\u200bb", "a\u2028b", "x" * 101])
def test_a_bad_name_is_refused(browser, client: Client, name: str) -> None:
    """A name that is empty, taken, too long or not printable is refused at its input."""
    assert list(ClientPage(browser, client_data(name=name)).errors) == ["name"]


@pytest.mark.parametrize(
    "attributes", ["[]", "0", "x", '{"a": NaN}', '{"a": "\\u0000"}', '{"a": "\\ud800"}', "[" * 5000]
)
def test_bad_attributes_are_refused(browser, client: Client, attributes: str) -> None:
    """What is no JSON object, or could not be stored, is refused at its input."""
    grant = client.grants.get()
    page = ClientPage(browser, client_data({"id": grant.pk}, attributes=attributes), client)
    assert list(page.errors) == ["attributes"]


def test_empty_text_means_no_attributes(browser, client: Client) -> None:
    """No text is no attributes."""
    Client.objects.update(attributes={"tenant": "acme"})
    assert ClientPage(browser, client_data({"id": client.grants.get().pk}, attributes=""), client).saved
    client.refresh_from_db()
    assert client.attributes == {}


def test_the_lookup_of_a_credential_is_on_no_page(browser, client: Client) -> None:
    """Nor can a form set it."""
    credential, _ = Credential.objects.issue(client)
    pages = [url("client_changelist"), url("client_changes")]
    pages += [url(f"client_{page}", client.pk) for page in ("change", "history", "issue", "revoke_others", "delete")]
    pages.append(url("client_revoke", client.pk, credential.pk))
    for page in pages:
        text = browser.get(page).content.decode()
        assert credential.lookup not in text
    sent = {"credentials-0-lookup": "mine", "credentials-0-revoked_at": ""}
    data = client_data({"id": client.grants.get().pk}, credentials=[credential]) | sent
    assert ClientPage(browser, data, client).saved
    stored = client.credentials.get()
    assert stored.lookup == credential.lookup


def test_the_list_shows_and_finds_clients(browser, client: Client) -> None:
    """The list says what a client is for, whether it is on, and when it was there, and can be searched."""
    Client.objects.update(last_seen_at=timezone.now() - timedelta(days=400), expires_at=timezone.now())
    text = browser.get(url("client_changelist"), {"q": "shop"}).content.decode()
    for shown in ("cache", "shop", "Last seen", "Expires"):
        assert shown in text


def test_the_page_lists_the_newest_replicas(browser, client: Client) -> None:
    """The page lists the newest replicas of the client, and leads to all when there are more."""
    app = client.apps.get()
    address = url("client_change", client.pk)
    assert "None yet." in browser.get(address).content.decode()
    for shard in range(11):
        Replica.objects.create(
            app=app,
            client=client,
            shard_num=shard,
            replica_version="5abc",
            version_number=3,
            access_number=2,
            last_seen_at=timezone.now(),
        )
    text = browser.get(address).content.decode()
    assert text.count("version 3, access version 2") == 10
    assert f"{url('replica_changelist')}?client__id__exact={client.pk}" in text


def test_credentials_that_the_page_does_not_have_are_refused(browser, client: Client) -> None:
    """More forms than the client has credentials are refused by a page."""
    data = client_data({"id": client.grants.get().pk}) | {"credentials-TOTAL_FORMS": "2000"}
    assert not ClientPage(browser, data, client).saved
    assert not client.credentials.exists()
