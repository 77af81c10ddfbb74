"""changesource/authentication/tokens.py and credentials.py: random tokens."""

import asyncio
import contextlib
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.hashers import identify_hasher
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from changesource.authentication import credentials
from changesource.authentication.slow_hash import SlowHash
from changesource.authentication.tokens import authenticate
from changesource.errors import TokenRefused
from changesource.models import Client, Credential
from changesource.models.client_store import Identity
from changesource.models.credential import digest_of, lookup_of
from changesource.models.database_threads import AUTHENTICATION
from changesource.protocol.requests import MAX_TOKEN_LENGTH

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def nothing_proven(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of different tests have the same ids."""
    monkeypatch.setattr(credentials, "_slow_hash", SlowHash())


@pytest.fixture
def client() -> Client:
    return Client.objects.create_for_apps("cache", [])


@pytest.fixture
def token(client: Client) -> str:
    return Credential.objects.issue(client)[1]


async def refusal(token: str) -> TokenRefused:
    with pytest.raises(TokenRefused) as refused:
        await authenticate(token)
    assert not token or token not in str(refused.value)
    return refused.value


async def queries_of(token: str) -> int:
    """How many queries `authenticate` runs."""

    def begin() -> CaptureQueriesContext:
        return CaptureQueriesContext(connection).__enter__()

    captured = await AUTHENTICATION.ask(begin)
    with contextlib.suppress(TokenRefused):
        await authenticate(token)
    return await AUTHENTICATION.ask(lambda: len(captured))


async def test_right_token(client: Client, token: str) -> None:
    """A token tells the client and its credential."""
    credential = await client.credentials.aget()
    assert await authenticate(token) == Identity(client.pk, "cache", credential.pk)


@pytest.mark.parametrize("wrong", ["", "x", "\0", "\ud800", "'; --", "x" * MAX_TOKEN_LENGTH])
async def test_wrong_token(token: str, wrong: str) -> None:
    """Anything else is nobody's token, and nothing else is raised."""
    assert (await refusal(wrong)).reason == "unknown token"


async def test_huge_token(token: str) -> None:
    """A token of absurd length costs neither a hash nor a query."""
    assert "longer" in (await refusal("x" * (MAX_TOKEN_LENGTH + 1))).reason
    assert await queries_of("x" * (MAX_TOKEN_LENGTH + 1)) == 0


async def test_what_is_stored_is_no_token(client: Client, token: str) -> None:
    """Who read the database cannot connect with what stands there, nor with the digest that it is made of."""
    credential = await client.credentials.aget()
    for stored in (credential.lookup, credential.hash, digest_of(token)):
        assert (await refusal(stored)).reason == "unknown token"


async def test_unknown_tokens_are_cheap(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One query, and never the slow hash: also for tokens that are revoked or whose client is switched off."""

    async def unexpected(*args: object) -> None:
        raise AssertionError

    monkeypatch.setattr(credentials._slow_hash, "prove", unexpected)
    assert await queries_of("nobody's") == 1
    await Client.objects.aupdate(is_active=False)
    assert await queries_of(token) == 1
    await Credential.objects.aupdate(revoked_at=timezone.now())
    assert await queries_of(token) == 1


async def test_known_tokens_are_cheap(token: str) -> None:
    """zero-cache may come back every 25 ms: from the second time on it is one query."""
    await authenticate(token)
    assert [await queries_of(token) for _ in range(3)] == [1, 1, 1]


async def test_rotation(client: Client, token: str) -> None:
    """Two credentials are valid side by side; revoking the old one leaves the new one."""
    new, new_token = await sync_to_async(Credential.objects.issue)(client)
    assert (await authenticate(token)).credential_id != (await authenticate(new_token)).credential_id
    old = await client.credentials.exclude(pk=new.pk).aget()
    await sync_to_async(old.revoke)()
    refused = await refusal(token)
    assert (refused.reason, refused.client) == (f"client cache: credential {old.pk} is revoked", "cache")
    assert (await authenticate(new_token)).credential_id == new.pk


async def test_expired(client: Client) -> None:
    """A credential is valid until it expires, and the identity says when that is."""
    later = timezone.now() + timedelta(hours=1)
    _, token = await sync_to_async(Credential.objects.issue)(client, "", later)
    assert (await authenticate(token)).expires_at == later
    await client.credentials.aupdate(expires_at=timezone.now())
    assert "has expired" in (await refusal(token)).reason


async def test_client_that_may_not(token: str) -> None:
    """A client that is switched off, or has expired, is refused though its token is right."""
    await Client.objects.aupdate(is_active=False)
    assert (await refusal(token)).reason == "client cache is not active"
    await Client.objects.aupdate(is_active=True, expires_at=timezone.now())
    assert (await refusal(token)).reason == "client cache has expired"


async def test_hash_of_another_token(client: Client, token: str) -> None:
    """The look-up alone lets nobody in."""
    other, _ = await sync_to_async(Credential.objects.issue)(client)
    await Credential.objects.exclude(pk=other.pk).aupdate(hash=other.hash)
    assert "is of another token" in (await refusal(token)).reason


async def test_replaced_hash(client: Client, token: str) -> None:
    """What was proven before a row was changed counts no more."""
    await authenticate(token)
    other, _ = await sync_to_async(Credential.objects.issue)(client)
    await Credential.objects.exclude(pk=other.pk).aupdate(hash=other.hash)
    assert "is of another token" in (await refusal(token)).reason


async def test_secret_key_is_changed(client: Client, token: str, settings: Any) -> None:
    """With the old key as a fallback a token goes on, and its row takes the new key; then the old one can go."""
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another for tests only"
    assert (await authenticate(token)).name == "cache"
    assert (await client.credentials.aget()).lookup == lookup_of(digest_of(token))
    settings.SECRET_KEY_FALLBACKS = []
    assert (await authenticate(token)).name == "cache"


async def test_secret_key_without_fallback(token: str, settings: Any) -> None:
    """Without the old key nobody is found."""
    settings.SECRET_KEY = "another for tests only"
    assert (await refusal(token)).reason == "unknown token"


async def test_hasher_is_changed(client: Client, token: str, settings: Any) -> None:
    """A hash of the old hasher is accepted once more, and replaced; nobody is asked for a new token."""
    settings.PASSWORD_HASHERS = ["tests.authentication.test_slow_hash.MoreIterations", *settings.PASSWORD_HASHERS]
    assert (await authenticate(token)).name == "cache"
    assert identify_hasher((await client.credentials.aget()).hash).iterations == 3
    settings.PASSWORD_HASHERS = settings.PASSWORD_HASHERS[:1]
    assert (await authenticate(token)).name == "cache"


async def test_last_use(client: Client, token: str) -> None:
    """The last use of a client and of its credential is kept, to the minute."""
    await authenticate(token)
    credential = await client.credentials.aget()
    first = credential.last_used_at
    assert first is not None
    await authenticate(token)
    await credential.arefresh_from_db()
    assert credential.last_used_at == first
    await client.credentials.aupdate(last_used_at=first - timedelta(seconds=61))
    await authenticate(token)
    await credential.arefresh_from_db()
    await client.arefresh_from_db()
    assert credential.last_used_at == client.last_seen_at >= first


async def test_many_at_once(client: Client, token: str) -> None:
    """Many connections at once all get their answer."""
    found = await asyncio.gather(*(authenticate(token) for _ in range(50)))
    assert {identity.client_id for identity in found} == {client.pk}
