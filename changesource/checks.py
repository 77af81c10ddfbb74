"""System checks: `manage.py check` finds wrong settings, without connecting to MongoDB or Redis.

`manage.py check --database default` also compares the apps with the configured sources, and queries
the sources of published apps. A message never contains a URI, or what a parser says about one:
either may contain a password.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qsl

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import Error as DriverError
from django.db import connections, router
from django.db.models import Model
from pymongo import MongoClient
from pymongo.errors import ConfigurationError, PyMongoError
from redis.connection import SSLConnection, parse_url

from changesource.authentication.callers import authentication_at
from changesource.authentication.claims import attribute_claims
from changesource.authentication.json_web_tokens import are_confusable
from changesource.authentication.keys import keys_of_settings
from changesource.authentication.remote_keys import is_safe_url
from changesource.conf import JWT_ALGORITHMS, JwtSettings, load_settings, source_variable
from changesource.errors import InvalidJwtSettings, InvalidUserAuthentication
from changesource.models import App, Grant, Version
from changesource.models.app import SOURCE_PATTERN
from changesource.mongo.source import FIXED_OPTIONS
from changesource.operations.source_report import SourceCheck, check_source, published_collections
from changesource.publishing.grants import find_not_shown
from changesource.queries.registry import registry
from changesource.queries.tracing import find_trace_problems
from changesource.tables.definition import shown_name


@register()
def check_sources(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """W001: no source. E011: a source with a name that no app can refer to. For each source's URI,
    E001: not usable, E002: without a database, W002: unknown options, W009: options that are not
    used."""
    if not load_settings().sources:
        return [
            Warning(
                "No MongoDB source is configured.",
                hint="Set MONGODB_URI to the URI of a replica set with a database in its path.",
                id="changesource.W001",
            )
        ]
    return [problem for name, uri in load_settings().sources.items() for problem in _uri_problems(name, uri)]


@register()
def check_root_path(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """E015: ROOT_PATH is not a path. If it began with two slashes, links would lead to another
    host."""
    if not load_settings().root_path or re.fullmatch(r"(/[\w.~-]+)+", load_settings().root_path, re.ASCII):
        return []
    return [
        Error(
            "ROOT_PATH is not a path under which the project can be served.",
            hint="Write /zero or /a/b, with a slash at the beginning and none at the end, or leave it empty.",
            id="changesource.E015",
        )
    ]


@register()
def check_redis(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """E003: REDIS_URL is not the URL of a Redis."""
    if not load_settings().redis_url:
        return []
    try:
        parse_url(load_settings().redis_url)  # type: ignore[no-untyped-call]
    except ValueError:
        return [
            Error(
                "REDIS_URL is not the URL of a Redis.",
                hint="Write redis://host:6379/0, rediss:// for TLS, or unix:///path; leave it empty to run without Redis.",
                id="changesource.E003",
            )
        ]
    return []


@register(Tags.security, deploy=True)
def check_redis_is_guarded(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """W010: REDIS_URL has no password. W011: it leads to another machine without TLS. What Redis
    says is trusted."""
    try:
        found = parse_url(load_settings().redis_url)  # type: ignore[no-untyped-call]
    except ValueError:
        return []  # it is empty, or `check_redis` reports it
    if "path" in found:  # a Unix socket, which has the rights of a file
        return []
    problems: list[CheckMessage] = []
    if not found.get("password"):
        problems.append(
            Warning(
                "REDIS_URL has no password: anyone who reaches Redis can read all rows and write to every replica.",
                hint="Create a Redis user with a password (docs/security.md, Redis), and put both into REDIS_URL.",
                id="changesource.W010",
            )
        )
    if not issubclass(found.get("connection_class", object), SSLConnection) and not _is_this_machine(found.get("host")):
        problems.append(
            Warning(
                "REDIS_URL leads to another machine without TLS: anyone on the way can read and change rows.",
                hint="Write rediss://…, or silence this warning if the network between them is private.",
                id="changesource.W011",
            )
        )
    return problems


def _is_this_machine(host: object) -> bool:
    if host in (None, "localhost"):
        return True
    try:
        return ip_address(str(host)).is_loopback
    except ValueError:
        return False


def _is_queried(model: type[Model], databases: Sequence[str] | None) -> bool:
    """Whether `databases`, those that may be queried, has the table of `model`. Before the first `migrate` it has not."""
    alias = router.db_for_read(model)
    return alias in (databases or ()) and model._meta.db_table in connections[alias].introspection.table_names()


@register(Tags.database)
def check_apps(
    app_configs: Sequence[AppConfig] | None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """W003: an app names a source that is not configured. E005: the Django database does not
    answer.

    W003 is only a warning, because an error would stop `manage.py migrate`, which needs no source.
    """
    try:
        if not _is_queried(App, databases):
            return []
        # Only columns of the first migration: `migrate` runs this check before it adds later ones.
        apps = list(App.objects.only("app_id", "source").exclude(source__in=load_settings().sources))
    except DriverError as exc:
        return [
            Error(
                f"The Django database does not answer ({type(exc).__name__}).",
                hint="Check DATABASE_URL, and that the database is running.",
                id="changesource.E005",
            )
        ]
    return [
        Warning(
            f"The app {app.app_id} names the source {app.source!r}, which is not configured.",
            hint=f"Set {source_variable(app.source)}, or choose another source for the app.",
            id="changesource.W003",
        )
        for app in apps
    ]


@register(Tags.database)
def check_published_sources(
    app_configs: Sequence[AppConfig] | None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """W006: the source of a published app has an error, W007: it has a warning, by the checks of
    `check_source`.

    Both are only warnings here, for the same reason as W003. Takes up to `ASK_SECONDS` for all
    sources together.
    """
    try:
        if not _is_queried(App, databases):
            return []
        published = {source: published_collections(source) for source in load_settings().sources}
    except DriverError:
        return []  # `check_apps` reports it, or `migrate` is about to add what is missing
    asked = {source: collections for source, collections in published.items() if collections}
    with ThreadPoolExecutor(max(1, len(asked)), thread_name_prefix="check-source") as executor:
        checks = executor.map(check_source, asked.keys(), asked.values())
        return [message for check in checks for message in _messages_of(check)]


@register(Tags.database)
def check_query_functions(
    app_configs: Sequence[AppConfig] | None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """W013: a query function could not work with the published version of its app. W014: query functions
    are declared for an app that is not there."""
    declared = list(registry.apps())
    try:
        if not declared or not _is_queried(App, databases):
            return []
        apps = {app.app_id: app for app in App.objects.only("app_id").filter(app_id__in=declared)}
        newest = {app_id: Version.objects.newest(app) for app_id, app in apps.items()}
    except DriverError:
        return []  # `check_apps` reports it, or `migrate` is about to add what is missing
    problems: list[CheckMessage] = [
        Warning(
            f"There are query functions for the app {app_id!r}, which does not exist.",
            hint="Name an app by its id in @query(…, app=…), or create the app.",
            id="changesource.W014",
        )
        for app_id in declared
        if app_id not in apps
    ]
    for app_id, version in newest.items():
        for problem in find_trace_problems(version.to_definition(), registry) if version is not None else ():
            problems.append(
                Warning(
                    f"{app_id}: the query {problem}",
                    hint="Change the function, or publish the app with what it names.",
                    id="changesource.W013",
                )
            )
    return problems


@register(Tags.database)
def check_grants(
    app_configs: Sequence[AppConfig] | None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """W012: a grant with row filters does not show a published table, because it neither filters
    nor names the table, or because the table reads other documents than when it was granted."""
    try:
        if not _is_queried(Grant, databases):
            return []
        grants = list(Grant.objects.select_related("client", "app"))
        newest = {app: Version.objects.newest(app) for app in {grant.app for grant in grants}}
    except DriverError:
        return []  # `check_apps` reports it, or `migrate` is about to add what is missing
    definitions = {app: version.to_definition() for app, version in newest.items() if version is not None}
    return [
        Warning(
            f"Client {grant.client} does not see all of {grant.app}. {text}",
            hint="Change its grant in admin. If it lists its tables, the others are left out on purpose.",
            id="changesource.W012",
        )
        for grant in grants
        if grant.app in definitions
        for text in find_not_shown(grant, definitions[grant.app])
    ]


def _messages_of(check: SourceCheck) -> Iterator[CheckMessage]:
    for status, number in (("error", 6), ("warning", 7)):
        for result in check.results:
            if result.status == status:
                yield Warning(
                    f"The source {check.source!r}, {result.name}: {result.text}",
                    hint=result.remedy or f"manage.py check_source {check.source} shows the details.",
                    id=f"changesource.W{number:03}",
                )


@register()
def check_channel_layer(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """E004: there is no channel layer, which tells sessions of new changes."""
    if getattr(settings, "CHANNEL_LAYERS", {}).get("default", {}).get("BACKEND"):
        return []
    return [
        Error(
            "No default channel layer is configured.",
            hint="Set CHANNEL_LAYERS['default'], as zerosources/settings.py does from REDIS_URL.",
            id="changesource.E004",
        )
    ]


@register()
def check_jwt(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Of the settings for JWTs of clients (`JWT_`) and of users (`USER_JWT_`), E006: a key that
    cannot be used, E007: a JWKS URL without TLS, E008: no audience or no issuer, E009: an algorithm
    that is unknown or has no key, E010: JWT_ATTRIBUTES or JWT_CLIENT_CLAIM is invalid. W008:
    settings without keys. E016: both have one audience."""
    settings = load_settings()
    problems = [problem for jwt in (settings.jwt, settings.user_jwt) for problem in _problems_of_jwts(jwt)]
    if are_confusable(settings.user_jwt, settings.jwt):
        problems.append(
            Error(
                "JWT_AUDIENCE and USER_JWT_AUDIENCE are the same, so no JWT is accepted: a user whose sub is the name of a "
                "client could open its change stream.",
                hint="Let the issuer give JWTs of users another audience, and set USER_JWT_AUDIENCE to it.",
                id="changesource.E016",
            )
        )
    return problems


def _problems_of_jwts(jwt: JwtSettings) -> Iterator[CheckMessage]:
    if jwt.is_on:
        yield from _key_problems(jwt)
        yield from _claim_problems(jwt)
    elif jwt.audience or jwt.issuer or jwt.attributes:
        names = ", ".join(f"{jwt.prefix}_{name}" for name in ("SECRET", "KEYS", "KEYS_FILE"))
        yield Warning(
            f"There are settings {jwt.prefix}_… for JWTs but no keys, so no JWT is accepted.",
            hint=f"Set {names} or {jwt.prefix}_JWKS_URL, or remove the other {jwt.prefix}_ settings.",
            id="changesource.W008",
        )


def _key_problems(jwt: JwtSettings) -> Iterator[CheckMessage]:
    try:
        algorithms = {key.algorithm for key in keys_of_settings(jwt)}
    except InvalidJwtSettings as error:
        yield Error(
            str(error.args[0]),
            hint=f"{jwt.prefix}_SECRET is a random text of at least 32 bytes; {jwt.prefix}_KEYS, and the file at "
            f"{jwt.prefix}_KEYS_FILE, hold PEM blocks BEGIN PUBLIC KEY (RSA with at least 2048 bits, P-256, Ed25519) or a "
            "JWK set.",
            id="changesource.E006",
        )
        return
    if jwt.jwks_url and not is_safe_url(jwt.jwks_url):
        yield Error(
            f"{jwt.prefix}_JWKS_URL is not an https URL.",
            hint="Write https://…; http:// is only for an issuer on this machine (localhost, 127.0.0.1, [::1]).",
            id="changesource.E007",
        )
    unknown = set(jwt.algorithms) - set(JWT_ALGORITHMS)
    if unknown or not (jwt.jwks_url or algorithms & set(jwt.algorithms)):
        yield Error(
            f"{jwt.prefix}_ALGORITHMS names an unknown algorithm, or none for which there is a key.",
            hint=f"Name some of {', '.join(JWT_ALGORITHMS)}, separated by commas. By default, all with keys are accepted.",
            id="changesource.E009",
        )


def _claim_problems(jwt: JwtSettings) -> Iterator[CheckMessage]:
    for name, value in (("audience", jwt.audience), ("issuer", jwt.issuer)):
        if not value:
            setting = f"{jwt.prefix}_{name.upper()}"
            yield Error(
                f"There are keys for JWTs, but {setting} is not set, so no JWT is accepted.",
                hint=f"Set {setting} to the {name} of the tokens for this service.",
                id="changesource.E008",
            )
    try:
        attribute_claims(jwt.attributes)
        if not jwt.client_claim:
            raise InvalidJwtSettings("JWT_CLIENT_CLAIM is empty.")
    except InvalidJwtSettings as error:
        yield Error(
            str(error.args[0]),
            hint="For example: JWT_ATTRIBUTES=tenant=org_id,region=https://example.com/region and JWT_CLIENT_CLAIM=sub.",
            id="changesource.E010",
        )


@register()
def check_user_authentication(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """E017: USER_AUTHENTICATION names something that cannot be imported, or cannot be asked."""
    return [problem for path in load_settings().user_authentication for problem in _authentication_problems(path)]


def _authentication_problems(path: str) -> Iterator[CheckMessage]:
    try:
        authentication_at(path)
    except InvalidUserAuthentication as error:
        yield Error(
            f"USER_AUTHENTICATION: {error.args[0]}",
            hint="Name functions (request) -> Caller | None, or subclasses of rest_framework.authentication."
            "BaseAuthentication, as package.module.name, separated by commas without spaces.",
            id="changesource.E017",
        )


UNUSED_OPTIONS = (
    *FIXED_OPTIONS,
    "appName",
    "serverSelectionTimeoutMS",
    "readPreference",
    "readPreferenceTags",
    "maxStalenessSeconds",
    "readConcernLevel",
    "w",
    "wtimeoutMS",
    "journal",
    "fsync",
    "tz_aware",
    "uuidRepresentation",
    "datetime_conversion",
    "unicode_decode_error_handler",
)
"""Options that `mongo.source` sets itself, whatever a URI says."""


def _unused_options(uri: str) -> list[str]:
    named = {name.lower() for name, _ in parse_qsl(uri.partition("?")[2], keep_blank_values=True)}
    return [option for option in UNUSED_OPTIONS if option.lower() in named]


def _uri_problems(name: str, uri: str) -> Iterator[CheckMessage]:
    variable = source_variable(name)
    if not re.fullmatch(SOURCE_PATTERN, name):
        yield Error(
            f"The name of the source {shown_name(name)!r} is not one that an app can refer to.",
            hint=f"Use only letters, digits and underscores in the name of the variable {shown_name(variable)}.",
            id="changesource.E011",
        )
    with warnings.catch_warnings(record=True) as ignored_options:
        warnings.simplefilter("always")
        try:
            client: MongoClient[dict[str, Any]] = MongoClient(uri, connect=False)
        except (PyMongoError, ValueError, OSError):  # OSError: a certificate file that cannot be read
            yield Error(
                f"{variable} is not a usable MongoDB URI.",
                hint=(
                    "Write mongodb://user:password@host:27017/database?replicaSet=name. Percent-encode the user and the "
                    "password, and check that every file that it names exists."
                ),
                id="changesource.E001",
            )
            return
    if ignored_options:
        yield Warning(
            f"{variable} has an option or a value that PyMongo does not know and ignores.",
            hint="Check the spelling of the part after the question mark.",
            id="changesource.W002",
        )
    if unused := _unused_options(uri):
        yield Warning(
            f"{variable} has options that are not used: {', '.join(unused)}.",
            hint="Remove them. How to read and write, and how long that may take, is not configured by the URI.",
            id="changesource.W009",
        )
    with client:
        try:
            client.get_default_database()
        except ConfigurationError:
            yield Error(
                f"{variable} names no database.",
                hint="Write the database's name after the hosts: mongodb://host:27017/database.",
                id="changesource.E002",
            )
