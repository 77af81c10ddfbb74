"""System checks: each misconfiguration has its id, and no message holds a secret."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import CheckMessage
from pymongo.common import URI_OPTIONS_VALIDATOR_MAP

import tests
from changesource import checks
from changesource.models import Client
from changesource.queries import Caller, Query, Tables, query
from changesource.queries.registry import Registry
from tests.authentication.issuer import AUDIENCE, ISSUER, SECRET, pem
from tests.models.builders import build_app, publish, set_grant

ROOT = Path(__file__).resolve().parents[1]
URI = "mongodb://me:secret@localhost:27017/shop?replicaSet=rs0"


def ids(messages: list[CheckMessage]) -> list[str]:
    for message in messages:
        assert "secret" not in str(message)
        assert message.hint
    return [str(message.id).removeprefix("changesource.") for message in messages]


def of_uri(settings: Any, uri: str) -> list[str]:
    settings.CHANGESOURCE_SOURCES = {"default": uri}
    return ids(checks.check_sources(None))


@pytest.mark.parametrize(
    "uri", [URI, "mongodb://a,b:1/shop", "mongodb+srv://me:secret@nowhere.invalid/shop?srvMaxHosts=1"]
)
def test_a_uri_with_a_database_is_accepted(settings, uri: str) -> None:
    """Nothing connects or asks DNS."""
    assert of_uri(settings, uri) == []


@pytest.mark.parametrize("name", ["", "a b", "städte", "a\u202eb", "a\n", "Shop"])
def test_a_source_has_a_name_of_lower_case_letters_digits_and_underscores(settings, name: str) -> None:
    """No other name could be used."""
    settings.CHANGESOURCE_SOURCES = {name: URI, "shop_2": URI}
    messages = checks.check_sources(None)
    assert ids(messages) == ["E011"]
    assert str(messages[0].msg).isprintable()


def test_no_source_at_all_is_a_warning(settings) -> None:
    """The project can be looked at without one."""
    settings.CHANGESOURCE_SOURCES = {}
    assert ids(checks.check_sources(None)) == ["W001"]


@pytest.mark.parametrize(
    "uri",
    [
        "http://me:secret@localhost/shop",
        "mongodb://",
        "mongodb://me:sec/secret@localhost/shop",
        "mongodb://me:secret@localhost:secret/shop",
        "mongodb://localhost:99999/shop",
        "mongodb://localhost/my secret",
        "mongodb://[::1/shop",
        "mongodb://localhost/shop?tls=true&tlsCAFile=/nowhere/secret.pem",
    ],
)
def test_a_uri_that_pymongo_refuses_is_an_error(settings, uri: str) -> None:
    assert of_uri(settings, uri) == ["E001"]


@pytest.mark.parametrize("uri", ["localhost", "mongodb://me:secret@localhost", "mongodb://localhost/?replicaSet=rs0"])
def test_a_uri_without_a_database_is_an_error(settings, uri: str) -> None:
    assert of_uri(settings, uri) == ["E002"]


def test_an_option_that_pymongo_ignores_is_a_warning(settings) -> None:
    assert of_uri(settings, f"{URI}&replicasett=rs0") == ["W002"]


@pytest.mark.parametrize("option", ["timeoutMS=20000", "sockettimeoutms=900", "readPreference=nearest", "w=0"])
def test_an_option_that_would_change_how_commands_run_is_a_warning_that_names_it(settings, option: str) -> None:
    settings.CHANGESOURCE_SOURCES = {"default": f"{URI}&{option}"}
    [message] = checks.check_sources(None)
    assert (message.id, option.partition("=")[0].lower() in message.msg.lower()) == ("changesource.W009", True)


def test_every_option_of_a_uri_is_used_or_named() -> None:
    """A new option of PyMongo is noticed: somebody has to decide whether it may change how our commands run."""
    harmless = {
        *("authmechanism", "authmechanismproperties", "authsource", "replicaset", "directconnection", "loadbalanced"),
        *("compressors", "zlibcompressionlevel", "connect", "connecttimeoutms", "heartbeatfrequencyms"),
        *("localthresholdms", "maxconnecting", "maxidletimems", "minpoolsize", "retryreads", "retrywrites"),
        *("servermonitoringmode", "srvallowedhostssuffix", "srvmaxhosts", "srvservicename"),
        *("enableoverloadretargeting", "maxadaptiveretries", "driver", "server_api", "waitqueuemultiple"),
        *(name for name in URI_OPTIONS_VALIDATOR_MAP if name.startswith(("tls", "ssl"))),
    }
    unused = {option.lower() for option in checks.UNUSED_OPTIONS}
    assert set(map(str.lower, URI_OPTIONS_VALIDATOR_MAP)) == harmless | unused


def test_each_source_is_named(settings) -> None:
    """The message names the variable."""
    settings.CHANGESOURCE_SOURCES = {"default": URI, "archive": "secret"}
    [message] = checks.check_sources(None)
    assert message.msg.startswith("MONGODB_URI_ARCHIVE ")


@pytest.mark.parametrize("url", ["", "redis://:secret@localhost:6379/0", "rediss://localhost", "unix:///run/redis"])
def test_a_redis_url_is_accepted_and_may_be_left_out(settings, url: str) -> None:
    settings.REDIS_URL = url
    assert checks.check_redis(None) == []


@pytest.mark.parametrize("url", ["localhost:6379", "http://:secret@localhost", "redis://localhost:secret"])
def test_another_url_for_redis_is_an_error(settings, url: str) -> None:
    settings.REDIS_URL = url
    assert ids(checks.check_redis(None)) == ["E003"]


@pytest.mark.parametrize("layers", [{}, {"default": {}}, {"other": {"BACKEND": "x"}}])
def test_no_default_channel_layer_is_an_error(settings, layers: dict[str, Any]) -> None:
    """Sessions need it."""
    settings.CHANNEL_LAYERS = layers
    assert ids(checks.check_channel_layer(None)) == ["E004"]


def test_the_settings_of_the_project_have_a_channel_layer() -> None:
    assert checks.check_channel_layer(None) == []


def of_jwt(settings: Any, **values: Any) -> list[str]:
    settings.CHANGESOURCE = {**settings.CHANGESOURCE, "jwt": {"audience": AUDIENCE, "issuer": ISSUER, **values}}
    return ids(checks.check_jwt(None))


def of_user_jwt(settings: Any, **values: Any) -> list[str]:
    """The same of the settings for users. Each message names them, and those for clients in no place."""
    user_jwt = {"audience": AUDIENCE, "issuer": ISSUER, **values}
    settings.CHANGESOURCE = {**settings.CHANGESOURCE, "user_jwt": user_jwt}
    messages = checks.check_jwt(None)
    for message in messages:
        assert "USER_JWT_" in message.msg
        assert not re.search(r"(?<!USER_)JWT_[A-Z]", f"{message.msg} {message.hint}")
    return ids(messages)


@pytest.mark.parametrize(
    "values",
    [
        {"secret": SECRET},
        {"keys": pem("ES256"), "algorithms": ("ES256",), "attributes": ("tenant=org_id",)},
        {"jwks_url": "https://me:secret@issuer.example.com/jwks"},
        {"jwks_url": "http://localhost:8080/jwks"},
    ],
)
def test_good_jwt_settings_are_accepted(settings, values: dict[str, Any]) -> None:
    """Nothing is fetched."""
    assert of_jwt(settings, **values) == []


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"secret": "31 bytes are not long enough..."}, ["E006"]),
        ({"keys": "secret"}, ["E006"]),
        ({"keys_file": "/nowhere/secret.pem"}, ["E006"]),
        ({"jwks_url": "http://me:secret@issuer.example.com/jwks"}, ["E007"]),
        ({"secret": SECRET, "audience": ""}, ["E008"]),
        ({"secret": SECRET, "audience": "", "issuer": ""}, ["E008", "E008"]),
        ({"secret": SECRET, "algorithms": ("HS256", "none")}, ["E009"]),
        ({"secret": SECRET, "algorithms": ("RS256",)}, ["E009"]),
        ({"secret": SECRET, "algorithms": ()}, ["E009"]),
        ({"secret": SECRET, "attributes": ("tenant",)}, ["E010"]),
        ({"secret": SECRET, "client_claim": ""}, ["E010"]),
        ({}, ["W008"]),
    ],
)
def test_each_mistake_in_jwt_settings_has_its_id(settings, values: dict[str, Any], expected: list[str]) -> None:
    assert of_jwt(settings, **values) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"secret": SECRET}, []),
        ({"secret": "31 bytes are not long enough..."}, ["E006"]),
        ({"secret": pem("ES256")}, ["E006"]),
        ({"keys": "secret"}, ["E006"]),
        ({"keys_file": "/nowhere/secret.pem"}, ["E006"]),
        ({"jwks_url": "http://me:secret@issuer.example.com/jwks"}, ["E007"]),
        ({"secret": SECRET, "audience": "", "issuer": ""}, ["E008", "E008"]),
        ({"secret": SECRET, "algorithms": ("RS256",)}, ["E009"]),
        ({}, ["W008"]),
    ],
)
def test_settings_for_users_jwts(settings, values: dict[str, Any], expected: list[str]) -> None:
    """They have the ids of those for clients."""
    assert of_user_jwt(settings, **values) == expected


@pytest.mark.parametrize(
    ("clients", "users", "expected"),
    [
        ({"secret": SECRET}, {"secret": SECRET, "audience": "users"}, []),
        ({"secret": SECRET}, {"secret": SECRET}, ["E016"]),
        ({"secret": SECRET}, {"keys": pem("ES256"), "issuer": "https://other.example.com"}, ["E016"]),
        ({"secret": SECRET, "audience": ""}, {"secret": SECRET, "audience": ""}, ["E008", "E008"]),
        ({}, {"secret": SECRET}, ["W008"]),
    ],
)
def test_jwts_of_clients_and_of_users_have_different_audiences(
    settings, clients: dict[str, Any], users: dict[str, Any], expected: list[str]
) -> None:
    """Else nothing would tell one from the other."""
    both = {"audience": AUDIENCE, "issuer": ISSUER}
    settings.CHANGESOURCE = {**settings.CHANGESOURCE, "jwt": both | clients, "user_jwt": both | users}
    assert ids(checks.check_jwt(None)) == expected


def of_user_authentication(settings: Any, *paths: str) -> list[CheckMessage]:
    settings.CHANGESOURCE = {**settings.CHANGESOURCE, "user_authentication": paths}
    return checks.check_user_authentication(None)


def test_user_authentication_names_functions_and_classes(settings) -> None:
    """Those of the default, REST framework's, or none."""
    assert checks.check_user_authentication(None) == []
    assert of_user_authentication(settings, "rest_framework.authentication.TokenAuthentication") == []
    assert of_user_authentication(settings) == []


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("nowhere.at_all", "No module named 'nowhere'"),
        ("tests.test_checks.at_all", "does not define"),
        ("session_caller", "doesn't look like a module path"),
        (" tests.test_checks.ids", "No module named ' tests'"),
        ("tests.test_checks.URI", "neither a function"),
        ("tests.test_checks.Path", "neither a function"),
        ("tests.failing_module.function", "ZeroDivisionError"),
    ],
)
def test_a_path_in_user_authentication_that_leads_nowhere(
    settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, path: str, reason: str
) -> None:
    """The message names it, and what is wrong with it."""
    (tmp_path / "failing_module.py").write_text("secret = 1 / 0")
    monkeypatch.setattr("tests.__path__", [*tests.__path__, str(tmp_path)])
    messages = of_user_authentication(settings, path, "changesource.authentication.callers.jwt_caller")
    assert ids(messages) == ["E017"]
    assert messages[0].msg.startswith(f"USER_AUTHENTICATION: {path!r} ")
    assert reason in messages[0].msg


def test_jwt_settings_may_be_left_out() -> None:
    assert checks.check_jwt(None) == []


def test_all_processes_of_a_developer_have_the_same_secret_key() -> None:
    """Without `SECRET_KEY`. `check --deploy` knows that key for what it is."""
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "zerosources.settings", "DEBUG": "1", "SECRET_KEY": ""}
    command = [sys.executable, "manage.py", "check", "--deploy", "--tag", "security"]
    checked = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert "security.W009" in checked.stderr
    shown = [sys.executable, "-c", "from zerosources import settings; print(settings.SECRET_KEY)"]
    keys = {subprocess.run(shown, cwd=ROOT, env=environment, capture_output=True, check=True).stdout for _ in range(2)}
    assert len(keys) == 1


@pytest.mark.django_db
def test_an_app_on_a_source_that_is_not_configured_is_a_warning(settings) -> None:
    settings.CHANGESOURCE_SOURCES = {"default": URI}
    build_app("shop")
    build_app("old", source="archive")
    [message] = checks.check_apps(None, databases=["default"])
    assert ids([message]) == ["W003"]
    assert "old" in message.msg


def test_no_check_reads_the_database_without_being_asked_to() -> None:
    """This test may not."""
    assert checks.check_apps(None, databases=None) == []


def test_a_database_that_does_not_answer_is_an_error_and_not_a_traceback() -> None:
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "zerosources.settings",
        "DATABASE_URL": "postgresql://me:secret@127.0.0.1:1/shop",
        "SECRET_KEY": "for tests",
    }
    command = [sys.executable, "manage.py", "check", "--database", "default"]
    checked = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert checked.returncode == 1
    assert "changesource.E005" in checked.stderr
    assert "Traceback" not in checked.stderr
    assert "secret" not in checked.stderr


@pytest.mark.django_db
def test_a_database_without_tables_has_nothing_wrong_with_it(monkeypatch) -> None:
    """As before the first `migrate`."""
    monkeypatch.setattr(checks.App._meta, "db_table", "not_yet_there")
    assert checks.check_apps(None, databases=["default"]) == []


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", []),
        ("/zero", []),
        ("/a/b-c.d", []),
        ("zero", ["E015"]),
        ("/zero/", ["E015"]),
        ("/", ["E015"]),
        ("//evil.example.com", ["E015"]),
        ("/a//b", ["E015"]),
        ("/a b", ["E015"]),
        ("/a?b", ["E015"]),
        ("/a\n", ["E015"]),
        ("https://example.com/zero", ["E015"]),
    ],
)
def test_the_root_path_is_a_path_or_empty(settings, path: str, expected: list[str]) -> None:
    settings.CHANGESOURCE = {**settings.CHANGESOURCE, "root_path": path}
    assert ids(checks.check_root_path(None)) == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("", []),
        ("nonsense", []),
        ("unix:///run/redis.sock", []),
        ("redis://:secret@127.0.0.1:6379/0", []),
        ("redis://zero:secret@localhost", []),
        ("redis://:secret@[::1]:6379", []),
        ("rediss://zero:secret@redis.example.com:6380/0", []),
        ("redis://:secret@redis.example.com:6379/0", ["W011"]),
        ("redis://:secret@10.0.0.7", ["W011"]),
        ("rediss://redis.example.com", ["W010"]),
        ("redis://localhost:6379/0", ["W010"]),
        ("redis://redis.example.com", ["W010", "W011"]),
    ],
)
def test_redis_has_a_password_and_tls_where_it_is_another_machine(settings, url: str, expected: list[str]) -> None:
    """Everything that Redis says is believed."""
    settings.REDIS_URL = url
    assert ids(checks.check_redis_is_guarded(None)) == expected


@pytest.mark.django_db
def test_tables_that_row_filters_leave_out_are_a_warning(settings) -> None:
    """A list of tables leaves out others on purpose."""
    settings.CHANGESOURCE_SOURCES = {"default": URI}
    app = build_app("shop")
    publish(app)
    set_grant(Client.objects.create_for_apps("acme", [app]), row_filters='{"gone": {}}')
    set_grant(Client.objects.create_for_apps("zoo", [app]), all_tables=False, tables=["gone"])
    [message] = checks.check_grants(None, databases=["default"])
    assert ids([message]) == ["W012"]
    assert message.msg.startswith("Client acme does not see all of shop. 'city': no row filter.")
    assert checks.check_grants(None) == []


@pytest.mark.django_db
def test_query_functions_are_compared_with_the_published_apps(settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only where the database may be queried. A function that depends on the values of its arguments says nothing."""
    settings.CHANGESOURCE_SOURCES = {"default": URI}
    registry = Registry()
    monkeypatch.setattr(checks, "registry", registry)
    assert checks.check_query_functions(None, databases=["default"]) == []

    @query("cities.all", app="shop", registry=registry)
    def fitting(q: Tables) -> Query:
        return q.city

    @query("cities.byName", app="shop", registry=registry)
    def misspelled(q: Tables) -> Query:
        return q.city.where("naem", "Ulm")

    @query("cities.chosen", app="shop", registry=registry)
    def chosen(q: Tables, caller: Caller) -> Query:
        return q.city if caller.user_id == "ada" else q.town

    @query("all", app="gone", registry=registry)
    def of_no_app(q: Tables) -> Query:
        return q.city

    assert checks.check_query_functions(None) == []
    assert ids(checks.check_query_functions(None, databases=["default"])) == ["W014", "W014"]
    publish(build_app("shop"))
    missing, misfit = checks.check_query_functions(None, databases=["default"])
    assert ids([missing, misfit]) == ["W014", "W013"]
    assert "'gone'" in missing.msg
    assert misfit.msg.startswith("shop: the query cities.byName, which is tests.test_checks.")
    assert "no column 'naem'. Did you mean 'name'?" in misfit.msg
