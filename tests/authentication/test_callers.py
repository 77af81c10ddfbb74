"""changesource/authentication/callers.py"""

import time
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth import SESSION_KEY, get_user_model
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.auth.models import AnonymousUser, Group, User
from django.contrib.sessions.middleware import SessionMiddleware
from django.db.backends.signals import connection_created
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import CsrfViewMiddleware
from django.test import AsyncRequestFactory, Client, RequestFactory
from rest_framework.authentication import BaseAuthentication, SessionAuthentication, TokenAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from changesource.authentication.callers import caller_of, has_trusted_origin
from changesource.authentication.tokens import authenticate
from changesource.conf import USER_AUTHENTICATION, load_settings
from changesource.errors import CallerRefused, TokenRefused
from changesource.models import Client as ZeroClient
from changesource.protocol.requests import MAX_TOKEN_LENGTH
from changesource.queries.registry import Caller
from tests.authentication.issuer import AUDIENCE, ISSUER, SECRET, Answer, KeyServer, assembled, claims, jwk, signed

pytestmark = pytest.mark.django_db(transaction=True)

USER_AUDIENCE = "https://users.example.com"
ORIGIN = "https://app.example.com"
HERE = "tests.authentication.test_callers"
SESSION = "changesource.authentication.callers.session_caller"


@pytest.fixture
def configure(settings: Any) -> Any:
    """Sets settings of the change source."""

    def set_values(**values: Any) -> None:
        settings.CHANGESOURCE = {**settings.CHANGESOURCE, **values}

    return set_values


@pytest.fixture(autouse=True)
def both_kinds_of_jwts(settings: Any, configure: Any) -> None:
    """One issuer with one secret, which is the worst case: only the audiences differ."""
    settings.CSRF_TRUSTED_ORIGINS = [ORIGIN, "https://*.example.org"]
    configure(
        jwt={"secret": SECRET, "audience": AUDIENCE, "issuer": ISSUER},
        user_jwt={"secret": SECRET, "audience": USER_AUDIENCE, "issuer": ISSUER},
        user_authentication=USER_AUTHENTICATION,
    )


@pytest.fixture
def ada() -> User:
    user = get_user_model().objects.create_user("ada", password="a password")
    user.groups.set([Group.objects.create(name=name) for name in ("writers", "editors")])
    return user


@pytest.fixture
def cookie(ada: User) -> str:
    """The session in which Ada has logged in."""
    browser = Client()
    browser.force_login(ada, "django.contrib.auth.backends.ModelBackend")
    return browser.cookies["sessionid"].value


def with_middleware(request: HttpRequest) -> HttpRequest:
    """The request as a view gets it."""

    def nothing(request: HttpRequest) -> HttpResponse:
        return HttpResponse()

    SessionMiddleware(nothing).process_request(request)
    AuthenticationMiddleware(nothing).process_request(request)
    return request


def forwarded(token: str | None = None, cookie: str | None = None, **headers: str) -> HttpRequest:
    """A request as zero-cache sends it."""
    factory = AsyncRequestFactory()
    if cookie is not None:
        factory.cookies["sessionid"] = cookie
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    body = '["transform",[]]'
    return with_middleware(factory.post("/api/zero/query", body, "application/json", headers=headers))


async def asked(request: HttpRequest) -> Caller:
    return await caller_of(request, load_settings())


async def refusal(request: HttpRequest, *secrets: str) -> str:
    """The reason. Neither it nor a traceback holds any of the secrets."""
    with pytest.raises(CallerRefused) as refused:
        await asked(request)
    shown = "".join(traceback.format_exception(refused.value))
    assert [part for secret in secrets for part in secret.split(".") if len(part) > 7 and part in shown] == []
    return str(refused.value.args[0])


def user_token(**changes: Any) -> str:
    return signed("HS256", **{"aud": USER_AUDIENCE, "sub": "ada", **changes})


def with_the_signature_of_another() -> str:
    return f"{user_token().rpartition('.')[0]}.{user_token(sub='bob').rpartition('.')[2]}"


class TestJwt:
    async def test_sub_is_the_user_and_all_claims_are_theirs(self) -> None:
        """Whatever the issuer puts into the token."""
        given = {"org": "acme", "roles": ["reader"], "exp": int(time.time()) + 60, "nbf": None, "iat": None}
        assert await asked(forwarded(user_token(**given))) == Caller(
            "ada", claims(aud=USER_AUDIENCE, sub="ada", **given)
        )

    async def test_the_scheme_may_be_written_in_any_case(self) -> None:
        """RFC 7235 says so."""
        request = forwarded(Authorization=f"bEARER {user_token()}")
        assert (await asked(request)).user_id == "ada"

    @pytest.mark.parametrize("header", [{}, {"Authorization": "Basic YTpi"}, {"Authorization": "Token x"}])
    async def test_whoever_presents_no_bearer_token_is_a_visitor(self, header: dict[str, str]) -> None:
        """With no user and no claims."""
        assert await asked(forwarded(**header)) == Caller(None, {})

    @pytest.mark.parametrize(
        ("make", "reason"),
        [
            pytest.param(lambda: user_token(exp=int(time.time()) - 1), "expired", id="expired a second ago"),
            pytest.param(lambda: user_token(exp=None), "missing", id="no exp"),
            pytest.param(lambda: user_token(exp=True), "", id="exp is true"),
            pytest.param(lambda: user_token(nbf=int(time.time()) + 600), "not valid yet", id="nbf in the future"),
            pytest.param(lambda: user_token(aud="other"), "another audience", id="another audience"),
            pytest.param(lambda: user_token(iss="other"), "another issuer", id="another issuer"),
            pytest.param(lambda: user_token(sub=None), "without sub", id="no sub"),
            pytest.param(lambda: user_token(sub=""), "without sub", id="empty sub"),
            pytest.param(lambda: user_token(sub=7), "malformed", id="sub is a number"),
            pytest.param(lambda: user_token(sub="\ud800"), "UTF-8", id="sub is no UTF-8"),
            pytest.param(lambda: signed("RS256", aud=USER_AUDIENCE), "no key", id="another algorithm"),
            pytest.param(
                lambda: assembled({"alg": "none"}, claims(aud=USER_AUDIENCE)), "USER_JWT_ALGORITHMS", id="none"
            ),
            pytest.param(with_the_signature_of_another, "signature", id="payload changed"),
            pytest.param(lambda: "an-opaque-token-of-another-service", "malformed", id="opaque"),
            pytest.param(lambda: f"{user_token()},{user_token()}", "malformed", id="two tokens"),
            pytest.param(lambda: "", "malformed", id="nothing"),
            pytest.param(lambda: "x" * (MAX_TOKEN_LENGTH + 1), "longer", id="long"),
        ],
    )
    async def test_a_token_that_proves_nothing_is_refused(
        self, make: Callable[[], str], reason: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It does not become a visitor. Neither the reason nor the log repeats it."""
        token = make()
        assert reason in await refusal(forwarded(token), token)
        assert caplog.text == ""

    async def test_a_refused_token_is_not_replaced_by_a_session(self, cookie: str) -> None:
        """What comes later is not asked."""
        assert "expired" in await refusal(forwarded(user_token(exp=1), cookie, Origin=ORIGIN), cookie)

    async def test_while_users_have_no_keys_every_bearer_token_is_refused(self, configure: Any) -> None:
        """A visitor would see something else than the user that the token names."""
        configure(user_jwt={})
        assert "no keys" in await refusal(forwarded(user_token()))

    @pytest.mark.parametrize(
        "values", [{"audience": ""}, {"issuer": ""}, {"keys": "nonsense"}, {"keys_file": "/nowhere"}]
    )
    async def test_wrong_settings_accept_no_token(
        self, configure: Any, caplog: pytest.LogCaptureFixture, values: dict[str, Any]
    ) -> None:
        """The log names the setting, and repeats neither it nor the token."""
        configure(user_jwt={"secret": SECRET, "audience": USER_AUDIENCE, "issuer": ISSUER, **values})
        token = user_token()
        assert "manage.py check" in await refusal(forwarded(token), token, SECRET)
        assert "CS602: USER_JWT_" in caplog.text
        assert token not in caplog.text
        assert SECRET not in caplog.text

    async def test_keys_may_be_at_a_url(
        self, configure: Any, keys_at_url: KeyServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        """If it does not answer, the log names the setting of users."""
        keys_at_url.publish(jwk("RS256", kid="first"))
        configure(user_jwt={"jwks_url": keys_at_url.url, "audience": USER_AUDIENCE, "issuer": ISSUER})
        token = signed("RS256", kid="first", aud=USER_AUDIENCE, sub="ada")
        assert (await asked(forwarded(token))).user_id == "ada"
        keys_at_url.answer = Answer(status=500)
        configure(user_jwt={"jwks_url": f"{keys_at_url.url}?", "audience": USER_AUDIENCE, "issuer": ISSUER})
        assert "no key" in await refusal(forwarded(token), token)
        assert "the keys at USER_JWT_JWKS_URL could not be fetched" in caplog.text


class TestTwoKindsOfJwts:
    @pytest.fixture
    def client(self) -> ZeroClient:
        client = ZeroClient.objects.create_for_apps("cache", [])
        client.accepts_jwt = True
        client.save()
        return client

    async def test_a_users_token_opens_no_change_stream(self, client: ZeroClient) -> None:
        """Even if the user is called as the client is, and issuer and key are the same."""
        assert (await authenticate(signed("HS256", sub="cache"))).name == "cache"
        with pytest.raises(TokenRefused, match="another audience"):
            await authenticate(user_token(sub="cache"))

    async def test_a_deployments_token_is_no_caller(self) -> None:
        """It names a client, not a user."""
        assert "another audience" in await refusal(forwarded(signed("HS256", sub="cache")))

    async def test_a_token_for_both_audiences_is_neither(self, client: ZeroClient) -> None:
        """Some issuers name every service that a user may use."""
        token = signed("HS256", sub="cache", aud=[USER_AUDIENCE, AUDIENCE])
        assert "at once" in await refusal(forwarded(token), token)
        with pytest.raises(TokenRefused, match="at once"):
            await authenticate(token)

    async def test_with_one_audience_for_both_no_token_is_accepted(
        self, client: ZeroClient, configure: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Neither as a user nor as a client. The log says why."""
        configure(user_jwt={"secret": SECRET, "audience": AUDIENCE, "issuer": "https://other.example.com"})
        token = signed("HS256", sub="cache")
        assert "manage.py check" in await refusal(forwarded(token), token)
        assert "JWTs of users cannot be accepted: CS602: JWT_AUDIENCE and USER_JWT_AUDIENCE are the same" in caplog.text
        with pytest.raises(TokenRefused, match="settings"):
            await authenticate(token)

    async def test_each_kind_works_without_the_other(self, client: ZeroClient, configure: Any) -> None:
        """An audience without keys is not one of the other kind."""
        configure(jwt={"audience": USER_AUDIENCE, "issuer": ISSUER})
        assert (await asked(forwarded(user_token()))).user_id == "ada"
        configure(jwt={"secret": SECRET, "audience": AUDIENCE, "issuer": ISSUER}, user_jwt={"audience": AUDIENCE})
        assert (await authenticate(signed("HS256", sub="cache"))).name == "cache"


class TestSession:
    async def test_a_user_who_has_logged_in_is_the_caller(self, ada: User, cookie: str) -> None:
        """Their claims are the key, whether they are staff, and the names of their groups."""
        assert await asked(forwarded(cookie=cookie, Origin=ORIGIN)) == Caller(
            str(ada.pk), {"sub": str(ada.pk), "is_staff": False, "groups": ["editors", "writers"]}
        )

    async def test_staff_are_known_as_staff(self, ada: User, cookie: str) -> None:
        """A change is in the next request."""
        await User.objects.aupdate(is_staff=True)
        assert (await asked(forwarded(cookie=cookie, Origin=ORIGIN))).claims["is_staff"] is True

    @pytest.mark.parametrize(
        "headers", [{}, {"Origin": "https://evil.example.com"}, {"Origin": "null"}, {"Origin": ""}]
    )
    async def test_a_session_counts_only_on_a_page_that_is_trusted(self, cookie: str, headers: dict[str, str]) -> None:
        """The browser sends the cookie also for a page of another site."""
        assert "Origin" in await refusal(forwarded(cookie=cookie, **headers), cookie)

    async def test_an_unknown_session_is_a_visitor(self, ada: User) -> None:
        """Also one that has ended, wherever it comes from."""
        assert await asked(forwarded(cookie="x" * 32)) == Caller()

    async def test_nobody_is_asked_for_a_session_without_its_cookie(self) -> None:
        """Other cookies are none of ours."""
        request = forwarded(Cookie="other=x", Origin=ORIGIN)
        del request.auser
        assert await asked(request) == Caller()

    @pytest.mark.parametrize("change", [{"is_active": False}, {"password": "another"}])
    async def test_a_session_ends_with_the_rights_of_its_user(self, cookie: str, change: dict[str, Any]) -> None:
        """A user who is switched off, or whose password has changed."""
        await User.objects.aupdate(**change)
        assert await asked(forwarded(cookie=cookie, Origin=ORIGIN)) == Caller()

    async def test_a_session_before_the_log_in_is_a_visitor(self, cookie: str) -> None:
        """It holds no user."""
        request = forwarded(cookie=cookie, Origin=ORIGIN)
        await request.session.apop(SESSION_KEY)
        assert await asked(request) == Caller()


ORIGINS = [
    (ORIGIN, True),
    ("http://testserver", True),
    ("https://shop.example.org", True),
    ("https://a.b.example.org", True),
    ("https://testserver", False),
    ("http://testserver:8000", False),
    ("http://app.example.com", False),
    ("https://app.example.com:8443", False),
    ("https://app.example.com.evil.com", False),
    ("https://evil.com", False),
    ("https://evilexample.org", False),
    ("http://shop.example.org", False),
    ("null", False),
    ("https://", False),
    ("https://[::1", False),
    (f"{ORIGIN},{ORIGIN}", False),
]


@pytest.mark.parametrize(("origin", "expected"), ORIGINS)
def test_an_origin_is_trusted_if_django_trusts_it(origin: str, expected: bool) -> None:
    """With wildcards for subdomains, and the request's own host."""
    request = RequestFactory().post("/api/zero/query", headers={"Origin": origin})
    assert has_trusted_origin(request) is expected
    assert CsrfViewMiddleware(lambda request: HttpResponse())._origin_verified(request) is expected


def test_a_host_that_is_not_ours_is_no_origin_of_ours() -> None:
    """Whatever the Host header says."""
    request = RequestFactory().post("/", headers={"Origin": "http://evil.com", "Host": "evil.com"})
    assert not has_trusted_origin(request)


def test_the_own_origin_has_the_scheme_of_the_request() -> None:
    """Over TLS it is https."""
    request = RequestFactory().post("/", headers={"Origin": "https://testserver"}, secure=True)
    assert has_trusted_origin(request)


def test_without_an_origin_none_is_trusted() -> None:
    """Django would look at the Referer, which zero-cache does not forward."""
    assert not has_trusted_origin(RequestFactory().post("/"))


# What USER_AUTHENTICATION may name


def count_users(request: HttpRequest) -> Caller:
    return Caller(f"one of {User.objects.count()}")


async def count_users_asynchronously(request: HttpRequest) -> Caller:
    return Caller(f"one of {await User.objects.acount()}")


async def by_header(request: HttpRequest) -> Caller | None:
    user = request.headers.get("X-User")
    return Caller(user) if user else None


def visitor(request: HttpRequest) -> Caller:
    return Caller(claims={"country": "de"})


def refusing(request: HttpRequest) -> Caller:
    raise CallerRefused("not today")


def failing(request: HttpRequest) -> Caller:
    raise LookupError("a bug")


def the_user_itself(request: HttpRequest) -> Any:
    return "ada"


def number(request: HttpRequest) -> Caller:
    return Caller(7)  # type: ignore[arg-type]


def empty(request: HttpRequest) -> Caller:
    return Caller("")


class Asynchronous:
    async def __call__(self, request: HttpRequest) -> Caller:
        return Caller("by an object")


by_object = Asynchronous()
not_callable = "text"


class ByHeader(BaseAuthentication):
    """One of REST framework's."""

    def authenticate(self, request: Request) -> tuple[Any, None] | None:
        match request.headers.get("X-User"):
            case None:
                return None
            case "nobody":
                return AnonymousUser(), None
            case "unsaved":
                return User(username="new"), None
            case name:
                found = User.objects.filter(username=name).first()
                if found is None:
                    raise AuthenticationFailed(f"{name} is unknown.")
                return found, None


class WithoutPermissions:
    is_authenticated = True
    pk = "u-1"


class StatelessUser(BaseAuthentication):
    def authenticate(self, request: Request) -> tuple[Any, None]:
        return WithoutPermissions(), None


@pytest.fixture
def name_paths(configure: Any) -> Callable[..., None]:
    """Sets USER_AUTHENTICATION, to names in this module."""

    def set_paths(*names: str) -> None:
        configure(user_authentication=tuple(name if "." in name else f"{HERE}.{name}" for name in names))

    return set_paths


async def test_a_synchronous_function_may_query_the_database(name_paths: Any, ada: User) -> None:
    """It runs in a thread."""
    name_paths("count_users")
    assert await asked(forwarded()) == Caller("one of 1")


@pytest.mark.parametrize(
    "name",
    ["count_users", "count_users_asynchronously", "ByHeader", "changesource.authentication.callers.session_caller"],
)
async def test_connections_to_the_database_are_closed(name_paths: Any, ada: User, cookie: str, name: str) -> None:
    """As Django closes them after a request, in the thread that opened them."""
    opened: list[Any] = []

    def note(connection: Any, **_: Any) -> None:
        opened.append(connection)

    name_paths(name)
    request = forwarded(cookie=cookie, **{"X-User": "ada", "Origin": "http://testserver"})
    connection_created.connect(note)
    try:
        await asked(request)
    finally:
        connection_created.disconnect(note)
    assert opened
    assert [connection.connection for connection in opened] == [None] * len(opened)


@pytest.mark.parametrize(("name", "user_id"), [("by_header", "ada"), ("by_object", "by an object")])
async def test_a_function_may_be_asynchronous(name_paths: Any, name: str, user_id: str) -> None:
    """So may an object that is called as a function is."""
    name_paths(name)
    assert await asked(forwarded(**{"X-User": "ada"})) == Caller(user_id)


async def test_the_first_that_gives_a_caller_decides(name_paths: Any) -> None:
    """Also if it says that the user is a visitor."""
    name_paths("by_header", "visitor", "refusing")
    assert await asked(forwarded(**{"X-User": "ada"})) == Caller("ada")
    assert await asked(forwarded()) == Caller(None, {"country": "de"})


async def test_a_refusal_ends_the_search(name_paths: Any) -> None:
    """Nobody else is asked."""
    name_paths("refusing", "visitor")
    assert await refusal(forwarded()) == "not today"


async def test_the_error_of_a_function_is_not_a_visitor(name_paths: Any) -> None:
    """It is an error of the server."""
    name_paths("failing", "visitor")
    with pytest.raises(LookupError):
        await asked(forwarded())


async def test_without_any_function_everybody_is_a_visitor(name_paths: Any, cookie: str) -> None:
    """Whatever they present."""
    name_paths()
    assert await asked(forwarded(user_token(), cookie, Origin=ORIGIN)) == Caller()


@pytest.mark.parametrize("name", ["the_user_itself", "number", "empty"])
async def test_what_is_no_caller_is_refused(name_paths: Any, name: str) -> None:
    """The reason names the function."""
    name_paths(name)
    assert name in await refusal(forwarded())


@pytest.mark.parametrize("path", [f"{HERE}.missing", f"{HERE}.not_callable", f"{HERE}.Asynchronous", "nowhere.at_all"])
async def test_a_path_that_leads_nowhere_refuses_everybody(
    name_paths: Any, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What comes after it might take a user for a visitor."""
    name_paths(path, "visitor")
    assert "manage.py check" in await refusal(forwarded())
    assert f"users cannot be authenticated: CS606: '{path}'" in caplog.text


class TestRestFramework:
    @pytest.fixture(autouse=True)
    def paths(self, name_paths: Any) -> None:
        name_paths("ByHeader")

    async def test_the_user_has_the_claims_of_a_session(self, ada: User) -> None:
        """So that the same rules hold."""
        assert await asked(forwarded(**{"X-User": "ada"})) == Caller(
            str(ada.pk), {"sub": str(ada.pk), "is_staff": False, "groups": ["editors", "writers"]}
        )

    async def test_a_class_that_finds_nothing_leaves_it_to_the_next(self, name_paths: Any, ada: User) -> None:
        """A user who is not authenticated is nothing."""
        name_paths("ByHeader", "visitor")
        assert (await asked(forwarded())).claims == {"country": "de"}
        assert (await asked(forwarded(**{"X-User": "nobody"}))).claims == {"country": "de"}

    async def test_a_class_that_refuses_is_believed(self) -> None:
        """Its text, which may repeat a token, is not shown."""
        assert "ByHeader" in await refusal(forwarded(**{"X-User": "a-secret-token"}), "a-secret-token")

    async def test_a_user_without_a_key_is_refused(self) -> None:
        """There is nothing to call them."""
        assert "primary key" in await refusal(forwarded(**{"X-User": "unsaved"}))

    async def test_a_user_may_have_no_groups(self, name_paths: Any) -> None:
        """As those of a token that is stored nowhere."""
        name_paths("StatelessUser")
        assert await asked(forwarded()) == Caller("u-1", {"sub": "u-1", "is_staff": False, "groups": []})

    async def test_with_cookies_the_origin_has_to_be_trusted(self, ada: User) -> None:
        """The class may have looked at one of them."""
        headers = {"X-User": "ada", "Cookie": "jwt=a-secret-token"}
        assert "Origin" in await refusal(forwarded(**headers), "a-secret-token")
        assert (await asked(forwarded(**headers, Origin=ORIGIN))).user_id == str(ada.pk)

    async def test_the_classes_of_rest_framework_fit(self, name_paths: Any, cookie: str) -> None:
        """Its own session class wants a CSRF token, which zero-cache does not have."""
        module = SessionAuthentication.__module__
        name_paths(f"{module}.{SessionAuthentication.__name__}", f"{module}.{TokenAuthentication.__name__}")
        assert await asked(forwarded()) == Caller()
        assert "Session" in await refusal(forwarded(cookie=cookie, Origin=ORIGIN), cookie)
        assert "Token" in await refusal(forwarded(Authorization="Token two secrets"), "two secrets")
