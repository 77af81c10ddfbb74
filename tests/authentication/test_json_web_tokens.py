"""changesource/authentication/json_web_tokens.py, through `authenticate`."""

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
    """Sets the settings for JWTs: an audience, an issuer, and the given ones."""

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
async def test_each_algorithm_is_verified_by_its_public_key(client: Client, algorithm: str) -> None:
    """The identity expires with the token and has no credential."""
    expiry = int(time.time()) + 60
    identity = await authenticate(signed(algorithm, exp=expiry))
    assert (identity.client_id, identity.name, identity.credential_id) == (client.pk, "cache", None)
    assert identity.expires_at == datetime.fromtimestamp(expiry, UTC)
    await client.arefresh_from_db()
    assert client.last_seen_at is not None


async def test_hs256_is_verified_by_the_secret(client: Client, configure: Any) -> None:
    """Which is in the settings."""
    configure(secret=SECRET)
    assert (await authenticate(signed("HS256"))).name == "cache"


async def test_claims_become_attributes(client: Client, configure: Any) -> None:
    """By the names in the settings. A missing claim or an object gives no attribute."""
    configure(secret=SECRET, attributes=("tenant=org_id", "region=https://x/region", "no=no", "odd=odd"))
    token = signed("HS256", org_id="acme", **{"https://x/region": ["eu", "us"]}, odd={"$ne": 1}, more="x")
    assert (await authenticate(token)).attributes == (("tenant", "acme"), ("region", ["eu", "us"]))


async def test_another_claim_may_name_the_client(client: Client, configure: Any) -> None:
    """The settings say which."""
    configure(secret=SECRET, client_claim="azp")
    assert (await authenticate(signed("HS256", sub="someone", azp="cache"))).name == "cache"


@pytest.mark.parametrize("audience", [AUDIENCE, ["https://other.example.com", AUDIENCE]])
async def test_one_of_several_audiences_is_enough(client: Client, audience: Any) -> None:
    """A token may have several."""
    assert (await authenticate(signed(aud=audience))).name == "cache"


async def test_the_issuers_clock_may_be_some_seconds_ahead(client: Client) -> None:
    """`nbf` and `iat` have leeway."""
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
        pytest.param(lambda: signed(exp=float("inf")), "malformed", id="exp infinite"),
        pytest.param(lambda: signed(exp=float("nan")), "malformed", id="exp is not a number"),
        pytest.param(lambda: signed(nbf=far()), "not valid yet", id="nbf in the future"),
        pytest.param(lambda: signed(iat=far()), "not valid yet", id="iat in the future"),
        pytest.param(lambda: signed(nbf="soon"), "malformed", id="nbf is text"),
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
        pytest.param(lambda: "..", "malformed", id="nothing"),
        pytest.param(lambda: "a.b.c", "malformed", id="no JSON"),
        pytest.param(lambda: "\ud800.b.c", "malformed", id="lone surrogate"),
        pytest.param(lambda: "é.b.c", "malformed", id="not ASCII"),
        pytest.param(lambda: assembled([], claims()), "malformed", id="header is a list"),
        pytest.param(lambda: assembled(b"[" * 5000, claims()), "malformed", id="deep header"),
        pytest.param(lambda: assembled({"alg": "RS256", "kid": 1}, claims()), "malformed", id="kid is a number"),
        pytest.param(lambda: assembled({"alg": "RS256", "crit": ["x"]}, claims()), "malformed", id="crit"),
        pytest.param(
            lambda: jwt.PyJWS().encode(b"[" * 5000, private_key("RS256"), "RS256"), "malformed", id="deep payload"
        ),
        pytest.param(
            lambda: jwt.PyJWS().encode(b"[]", private_key("RS256"), "RS256"), "malformed", id="payload is a list"
        ),
    ],
)
async def test_a_faulty_jwt_is_refused_with_a_reason(client: Client, make: Any, reason: str) -> None:
    """The reason is for the log, and repeats nothing of the token."""
    assert reason in (await refusal(make())).reason


async def test_a_client_claim_that_is_not_text_names_no_client(client: Client, configure: Any) -> None:
    """An object with an operator of MongoDB, for instance."""
    configure(secret=SECRET, client_claim="who")
    for who in ({"$ne": ""}, ["cache"], 1, True, None):
        assert "names no client" in (await refusal(signed("HS256", who=who))).reason


async def test_a_huge_token_is_refused_unseen(client: Client) -> None:
    """No key is asked."""
    assert "longer" in (await refusal(signed(more="x" * MAX_TOKEN_LENGTH))).reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"accepts_jwt": False}, "does not accept JWTs"),
        ({"is_active": False}, "not active"),
        ({"expires_at": datetime(2020, 1, 1, tzinfo=UTC)}, "has expired"),
    ],
)
async def test_the_client_has_to_be_valid_and_accept_jwts(client: Client, changes: dict[str, Any], reason: str) -> None:
    """A signature of the issuer is not enough."""
    await Client.objects.aupdate(**changes)
    refused = await refusal(signed())
    assert reason in refused.reason
    assert refused.client == "cache"


async def test_a_client_that_expires_later_is_valid(client: Client) -> None:
    """Until then."""
    await Client.objects.aupdate(expires_at=timezone.now() + timedelta(hours=1))
    assert (await authenticate(signed())).name == "cache"


async def test_a_wrong_signature_costs_no_query(client: Client) -> None:
    """Only a token that the issuer has signed reaches the database."""

    def begin() -> CaptureQueriesContext:
        return CaptureQueriesContext(connection).__enter__()

    queries = await AUTHENTICATION.ask(begin)
    await refusal(signed("RS256", 1))
    assert await AUTHENTICATION.ask(lambda: len(queries)) == 0


async def test_an_algorithm_that_the_settings_leave_out_is_refused(client: Client, configure: Any) -> None:
    """Although there is a key for it."""
    configure(keys=pem("RS256") + pem("ES256"), algorithms=("ES256",))
    assert "JWT_ALGORITHMS" in (await refusal(signed("RS256"))).reason
    assert (await authenticate(signed("ES256"))).name == "cache"


async def test_the_algorithm_none_is_always_refused(client: Client, configure: Any) -> None:
    """Even if the settings list it."""
    configure(keys=pem("RS256"), algorithms=("none", "RS256"))
    assert "no key" in (await refusal(assembled({"alg": "none"}, claims()))).reason


async def test_a_public_key_never_serves_as_a_secret(client: Client, configure: Any) -> None:
    """Even if HS256 is in use as well."""
    configure(secret=SECRET, keys=pem("RS256"))
    assert "signature" in (await refusal(with_public_key_as_secret())).reason


async def test_a_key_with_a_name_verifies_tokens_with_that_name_or_none(client: Client, configure: Any) -> None:
    """A key without a name verifies all."""
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
async def test_incomplete_settings_accept_no_token(
    client: Client, configure: Any, caplog: pytest.LogCaptureFixture, values: dict[str, Any]
) -> None:
    """The log says what is missing."""
    configure(**{"keys": pem("RS256"), **values})
    assert "manage.py check" in (await refusal(signed(aud=values.get("audience", AUDIENCE) or None))).reason
    assert "CS602" in caplog.text


async def test_without_keys_no_jwt_is_accepted(client: Client, configure: Any) -> None:
    """Each is refused."""
    configure()
    assert "no keys" in (await refusal(signed())).reason


class TestKeysAtUrl:
    @pytest.fixture(autouse=True)
    def keys(self, keys_at_url: KeyServer, configure: Any, monkeypatch: pytest.MonkeyPatch) -> RemoteKeys:
        keys_at_url.publish(jwk("RS256", kid="first"))
        configure(jwks_url=keys_at_url.url)
        # Of this server alone, and asked again at once: that it is asked rarely is shown in test_remote_keys.
        keys = RemoteKeys(keys_at_url.url)
        monkeypatch.setattr(json_web_tokens, "remote_keys", lambda url, setting: keys)
        monkeypatch.setattr(remote_keys, "RETRY_SECONDS", 0)
        return keys

    async def test_old_and_new_keys_count_while_both_are_published(
        self, client: Client, keys_at_url: KeyServer
    ) -> None:
        """Once the old one is withdrawn, only the new one counts."""
        old, new = signed("RS256", kid="first"), signed("RS256", 1, kid="second")
        assert (await authenticate(old)).name == "cache"
        assert "no key" in (await refusal(new)).reason
        keys_at_url.publish(jwk("RS256", kid="first"), jwk("RS256", 1, kid="second"))
        assert [(await authenticate(token)).name for token in (old, new)] == ["cache", "cache"]
        keys_at_url.publish(jwk("RS256", 1, kid="second"))
        await refusal(signed("RS256", kid="unknown"))
        assert "no key" in (await refusal(old)).reason
        assert (await authenticate(new)).name == "cache"

    async def test_a_key_signs_only_under_its_own_name(self, client: Client, keys_at_url: KeyServer) -> None:
        """A token that names another key is refused."""
        keys_at_url.publish(jwk("RS256", kid="first"), jwk("RS256", 1, kid="second"))
        assert "signature" in (await refusal(signed("RS256", 1, kid="first"))).reason

    async def test_known_keys_stay_in_use_while_the_issuer_is_away(
        self, client: Client, keys_at_url: KeyServer
    ) -> None:
        """Before its first answer no token is accepted."""
        keys_at_url.answer = Answer(503)
        assert "no key" in (await refusal(signed("RS256", kid="first"))).reason
        keys_at_url.publish(jwk("RS256", kid="first"))
        assert (await authenticate(signed("RS256", kid="first"))).name == "cache"
        keys_at_url.answer = Answer(503)
        await refusal(signed("RS256", kid="unknown"))
        assert (await authenticate(signed("RS256", kid="first"))).name == "cache"

    async def test_a_published_secret_verifies_nothing(self, client: Client, keys_at_url: KeyServer) -> None:
        """Anyone can read it."""
        keys_at_url.publish(jwk("HS256", kid="first"))
        assert "no key" in (await refusal(signed("HS256", kid="first"))).reason

    async def test_keys_in_the_settings_and_at_the_url_both_count(
        self, client: Client, keys_at_url: KeyServer, configure: Any
    ) -> None:
        """The URL is not asked for a key that the settings have by name."""
        configure(jwks_url=keys_at_url.url, keys=json.dumps({"keys": [jwk("ES256", kid="ours")]}))
        assert (await authenticate(signed("ES256", kid="ours"))).name == "cache"
        assert keys_at_url.count == 0
        assert (await authenticate(signed("RS256", kid="first"))).name == "cache"
