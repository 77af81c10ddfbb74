"""changesource/authentication/json_web_tokens.py, by way of `authenticate`."""

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from changesource.authentication import json_web_tokens, remote_keys
from changesource.authentication.json_web_tokens import LEEWAY_SECONDS
from changesource.authentication.remote_keys import RemoteKeys
from changesource.authentication.tokens import authenticate
from changesource.errors import TokenRefused
from changesource.models import Client
from changesource.models.database_threads import AUTHENTICATION
from changesource.protocol.requests import MAX_TOKEN_LENGTH
from tests.authentication.issuer import (
    AUDIENCE,
    ISSUER,
    SECRET,
    Answer,
    KeyServer,
    assembled,
    claims,
    jwk,
    pem,
    private_key,
    signed,
    with_changed_payload,
    with_public_key_as_secret,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def configure(settings: Any) -> Any:
    """Sets the settings for JWTs: an audience, an issuer, and what is given."""

    def set_jwt(**values: Any) -> None:
        jwt_settings = {"audience": AUDIENCE, "issuer": ISSUER, **values}
        settings.CHANGESOURCE = {**settings.CHANGESOURCE, "jwt": jwt_settings}

    return set_jwt


@pytest.fixture(autouse=True)
def public_keys_of_all_kinds(configure: Any) -> None:
    configure(keys=pem("RS256") + pem("ES256") + pem("EdDSA"))


@pytest.fixture
def client() -> Client:
    client = Client.objects.create_for_apps("cache", [])
    client.accepts_jwt = True
    client.save()
    return client


async def refusal(token: str) -> TokenRefused:
    with pytest.raises(TokenRefused) as refused:
        await authenticate(token)
    for part in token.split("."):
        assert len(part) < 8 or part not in str(refused.value)
    return refused.value


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
async def test_public_keys(client: Client, algorithm: str) -> None:
    """Each algorithm by its public key; the identity ends with the token and needs no credential."""
    expiry = int(time.time()) + 60
    identity = await authenticate(signed(algorithm, exp=expiry))
    assert (identity.client_id, identity.name, identity.credential_id) == (client.pk, "cache", None)
    assert identity.expires_at == datetime.fromtimestamp(expiry, UTC)
    await client.arefresh_from_db()
    assert client.last_seen_at is not None


async def test_secret(client: Client, configure: Any) -> None:
    """HS256 by the secret of the settings."""
    configure(secret=SECRET)
    assert (await authenticate(signed("HS256"))).name == "cache"


async def test_attributes(client: Client, configure: Any) -> None:
    """Claims by the names that the settings give them; what is missing or an object is no attribute."""
    configure(secret=SECRET, attributes=("tenant=org_id", "region=https://x/region", "no=no", "odd=odd"))
    token = signed("HS256", org_id="acme", **{"https://x/region": ["eu", "us"]}, odd={"$ne": 1}, more="x")
    assert (await authenticate(token)).attributes == (("tenant", "acme"), ("region", ["eu", "us"]))


async def test_client_claim(client: Client, configure: Any) -> None:
    """Another claim may name the client."""
    configure(secret=SECRET, client_claim="azp")
    assert (await authenticate(signed("HS256", sub="someone", azp="cache"))).name == "cache"


@pytest.mark.parametrize("audience", [AUDIENCE, ["https://other.example.com", AUDIENCE]])
async def test_audiences(client: Client, audience: Any) -> None:
    """One of several audiences is enough."""
    assert (await authenticate(signed(aud=audience))).name == "cache"


async def test_clock_that_is_ahead(client: Client) -> None:
    """The issuer's clock may be some seconds ahead of ours."""
    ahead = int(time.time()) + LEEWAY_SECONDS - 5
    assert (await authenticate(signed(nbf=ahead, iat=ahead))).name == "cache"


def far() -> int:
    return int(time.time()) + 600


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        pytest.param(with_public_key_as_secret, "no key has its algorithm", id="public key as secret"),
        pytest.param(lambda: assembled({"alg": "none"}, claims()), "JWT_ALGORITHMS", id="alg none"),
        pytest.param(lambda: assembled({"alg": "None"}, claims(), b"x"), "JWT_ALGORITHMS", id="alg None"),
        pytest.param(lambda: assembled({"alg": ["RS256"]}, claims()), "JWT_ALGORITHMS", id="alg is a list"),
        pytest.param(lambda: assembled({}, claims()), "JWT_ALGORITHMS", id="no alg"),
        pytest.param(lambda: jwt.encode(claims(), private_key("RS256"), "RS512"), "JWT_ALGORITHMS", id="RS512"),
        pytest.param(lambda: jwt.encode(claims(), private_key("RS256"), "PS256"), "JWT_ALGORITHMS", id="PS256"),
        pytest.param(lambda: signed("HS256"), "no key has its algorithm", id="HS256 without a secret"),
        pytest.param(lambda: signed("RS256", 1), "signature", id="another key"),
        pytest.param(lambda: assembled({"alg": "RS256"}, claims()), "signature", id="no signature"),
        pytest.param(with_changed_payload, "signature", id="payload changed"),
        pytest.param(lambda: signed(exp=int(time.time()) - 1), "expired", id="expired"),
        pytest.param(lambda: signed(exp=None), "missing", id="no exp"),
        pytest.param(lambda: signed(exp=str(far())), "exp is not a number", id="exp is text"),
        pytest.param(lambda: signed(exp=True), "", id="exp is true"),
        pytest.param(lambda: signed(exp=1e300), "exp is out of range", id="exp far off"),
        pytest.param(lambda: signed(exp=float("inf")), "not as a JWT", id="exp infinite"),
        pytest.param(lambda: signed(exp=float("nan")), "not as a JWT", id="exp is not a number"),
        pytest.param(lambda: signed(nbf=far()), "not valid yet", id="nbf in the future"),
        pytest.param(lambda: signed(iat=far()), "not valid yet", id="iat in the future"),
        pytest.param(lambda: signed(nbf="soon"), "not as a JWT", id="nbf is text"),
        pytest.param(lambda: signed(aud="other"), "audience", id="wrong audience"),
        pytest.param(lambda: signed(aud=[AUDIENCE, 1]), "audience", id="audience is no text"),
        pytest.param(lambda: signed(aud=None), "missing", id="no audience"),
        pytest.param(lambda: signed(iss="https://other.example.com/"), "issuer", id="wrong issuer"),
        pytest.param(lambda: assembled({"alg": "RS256"}, claims(iss=[ISSUER])), "signature", id="issuer is a list"),
        pytest.param(lambda: signed(iss=None), "missing", id="no issuer"),
        pytest.param(lambda: signed(sub=None), "names no client", id="no sub"),
        pytest.param(lambda: signed(sub="nobody"), "names no client", id="unknown client"),
        pytest.param(lambda: signed(sub="Cache"), "names no client", id="name in another case"),
        pytest.param(lambda: signed(sub="ca\0che"), "names no client", id="NUL in the name"),
        pytest.param(lambda: signed(sub="\ud800"), "names no client", id="name that is no UTF-8"),
        pytest.param(lambda: signed(sub="x" * 1000), "names no client", id="long name"),
        pytest.param(lambda: "..", "not as a JWT", id="nothing"),
        pytest.param(lambda: "a.b.c", "not as a JWT", id="no JSON"),
        pytest.param(lambda: "\ud800.b.c", "not as a JWT", id="lone surrogate"),
        pytest.param(lambda: "é.b.c", "not as a JWT", id="not ASCII"),
        pytest.param(lambda: assembled([], claims()), "not as a JWT", id="header is a list"),
        pytest.param(lambda: assembled(b"[" * 5000, claims()), "not as a JWT", id="deep header"),
        pytest.param(lambda: assembled({"alg": "RS256", "kid": 1}, claims()), "not as a JWT", id="kid is a number"),
        pytest.param(lambda: assembled({"alg": "RS256", "crit": ["x"]}, claims()), "not as a JWT", id="crit"),
        pytest.param(
            lambda: jwt.PyJWS().encode(b"[" * 5000, private_key("RS256"), "RS256"), "not as a JWT", id="deep payload"
        ),
        pytest.param(
            lambda: jwt.PyJWS().encode(b"[]", private_key("RS256"), "RS256"), "not as a JWT", id="payload is a list"
        ),
    ],
)
async def test_refused(client: Client, make: Any, reason: str) -> None:
    """Whatever is wrong with it, with a reason in the log that repeats nothing of it."""
    assert reason in (await refusal(make())).reason


async def test_subject_that_is_no_text(client: Client, configure: Any) -> None:
    """A client claim that holds an object, as an operator of MongoDB, names nobody."""
    configure(secret=SECRET, client_claim="who")
    for who in ({"$ne": ""}, ["cache"], 1, True, None):
        assert "names no client" in (await refusal(signed("HS256", who=who))).reason


async def test_huge_token(client: Client) -> None:
    """A token of absurd length is not even looked into."""
    assert "longer" in (await refusal(signed(more="x" * MAX_TOKEN_LENGTH))).reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"accepts_jwt": False}, "does not accept JWTs"),
        ({"is_active": False}, "not active"),
        ({"expires_at": datetime(2020, 1, 1, tzinfo=UTC)}, "has expired"),
    ],
)
async def test_client_that_may_not(client: Client, changes: dict[str, Any], reason: str) -> None:
    """The issuer's word is not enough: the client has to be valid, and to accept JWTs."""
    await Client.objects.aupdate(**changes)
    refused = await refusal(signed())
    assert reason in refused.reason
    assert refused.client == "cache"


async def test_client_that_expires_later(client: Client) -> None:
    """An expiry to come is none yet."""
    await Client.objects.aupdate(expires_at=timezone.now() + timedelta(hours=1))
    assert (await authenticate(signed())).name == "cache"


async def test_wrong_signature_asks_nobody(client: Client) -> None:
    """Only who has the issuer's signature reaches the database."""

    def begin() -> CaptureQueriesContext:
        return CaptureQueriesContext(connection).__enter__()

    queries = await AUTHENTICATION.ask(begin)
    await refusal(signed("RS256", 1))
    assert await AUTHENTICATION.ask(lambda: len(queries)) == 0


async def test_algorithms_of_the_settings(client: Client, configure: Any) -> None:
    """An algorithm that the settings leave out is refused, though there is a key for it."""
    configure(keys=pem("RS256") + pem("ES256"), algorithms=("ES256",))
    assert "JWT_ALGORITHMS" in (await refusal(signed("RS256"))).reason
    assert (await authenticate(signed("ES256"))).name == "cache"


async def test_none_in_the_settings(client: Client, configure: Any) -> None:
    """`none` is no algorithm, whoever writes it where."""
    configure(keys=pem("RS256"), algorithms=("none", "RS256"))
    assert "no key" in (await refusal(assembled({"alg": "none"}, claims()))).reason


async def test_secret_beside_public_keys(client: Client, configure: Any) -> None:
    """With HS256 in use as well, a public key is still no secret."""
    configure(secret=SECRET, keys=pem("RS256"))
    assert "signature" in (await refusal(with_public_key_as_secret())).reason


async def test_kids_in_the_settings(client: Client, configure: Any) -> None:
    """A key with a name is for tokens with that name, or without any; a key without is for all."""
    named = json.dumps({"keys": [jwk("RS256", kid="first"), jwk("ES256")]})
    configure(keys=named)
    assert (await authenticate(signed("RS256", kid="first"))).name == "cache"
    assert (await authenticate(signed("RS256"))).name == "cache"
    assert (await authenticate(signed("ES256", kid="any"))).name == "cache"
    assert "no key" in (await refusal(signed("RS256", kid="other"))).reason


@pytest.mark.parametrize(
    "values",
    [
        {"audience": ""},
        {"issuer": ""},
        {"attributes": ("tenant",)},
        {"keys": "nonsense"},
        {"keys_file": "/nowhere"},
    ],
)
async def test_settings_that_are_wrong(
    client: Client, configure: Any, caplog: pytest.LogCaptureFixture, values: dict[str, Any]
) -> None:
    """Nothing is accepted by half of a configuration; the log says what is missing."""
    configure(**{"keys": pem("RS256"), **values})
    assert "manage.py check" in (await refusal(signed(aud=values.get("audience", AUDIENCE) or None))).reason
    assert "CS602" in caplog.text


async def test_no_keys(client: Client, configure: Any) -> None:
    """Without keys there are no JWTs."""
    configure()
    assert "no keys" in (await refusal(signed())).reason


class TestKeysAtUrl:
    @pytest.fixture(autouse=True)
    def keys(self, keys_at_url: KeyServer, configure: Any, monkeypatch: pytest.MonkeyPatch) -> RemoteKeys:
        keys_at_url.publish(jwk("RS256", kid="first"))
        configure(jwks_url=keys_at_url.url)
        # Of this server alone, and asked again at once: that it is asked rarely is shown in test_remote_keys.
        keys = RemoteKeys(keys_at_url.url)
        monkeypatch.setattr(json_web_tokens, "remote_keys", lambda url: keys)
        monkeypatch.setattr(remote_keys, "RETRY_SECONDS", 0)
        return keys

    async def test_rotation(self, client: Client, keys_at_url: KeyServer) -> None:
        """Tokens of the old and of the new key go on while both are there, then of the new one only."""
        old, new = signed("RS256", kid="first"), signed("RS256", 1, kid="second")
        assert (await authenticate(old)).name == "cache"
        assert "no key" in (await refusal(new)).reason
        keys_at_url.publish(jwk("RS256", kid="first"), jwk("RS256", 1, kid="second"))
        assert [(await authenticate(token)).name for token in (old, new)] == ["cache", "cache"]
        keys_at_url.publish(jwk("RS256", 1, kid="second"))
        await refusal(signed("RS256", kid="unknown"))
        assert "no key" in (await refusal(old)).reason
        assert (await authenticate(new)).name == "cache"

    async def test_kid_of_another_key(self, client: Client, keys_at_url: KeyServer) -> None:
        """A key signs under its own name only."""
        keys_at_url.publish(jwk("RS256", kid="first"), jwk("RS256", 1, kid="second"))
        assert "signature" in (await refusal(signed("RS256", 1, kid="first"))).reason

    async def test_issuer_is_away(self, client: Client, keys_at_url: KeyServer) -> None:
        """Before the first answer nothing is accepted; after it, the keys go on."""
        keys_at_url.answer = Answer(503)
        assert "no key" in (await refusal(signed("RS256", kid="first"))).reason
        keys_at_url.publish(jwk("RS256", kid="first"))
        assert (await authenticate(signed("RS256", kid="first"))).name == "cache"
        keys_at_url.answer = Answer(503)
        await refusal(signed("RS256", kid="unknown"))
        assert (await authenticate(signed("RS256", kid="first"))).name == "cache"

    async def test_secret_at_the_url(self, client: Client, keys_at_url: KeyServer) -> None:
        """A secret that everybody can read proves nothing."""
        keys_at_url.publish(jwk("HS256", kid="first"))
        assert "no key" in (await refusal(signed("HS256", kid="first"))).reason

    async def test_beside_keys_in_the_settings(self, client: Client, keys_at_url: KeyServer, configure: Any) -> None:
        """Both count; the URL is not asked for a key that the settings have by name."""
        configure(jwks_url=keys_at_url.url, keys=json.dumps({"keys": [jwk("ES256", kid="ours")]}))
        assert (await authenticate(signed("ES256", kid="ours"))).name == "cache"
        assert keys_at_url.count == 0
        assert (await authenticate(signed("RS256", kid="first"))).name == "cache"
