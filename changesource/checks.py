"""System checks: what is configured wrongly is found by `manage.py check`, which connects to neither MongoDB nor Redis.

`manage.py check --database default` also compares the apps with the configured sources, and asks those that something is
published from. A message never holds a URI or what a parser says about one: either may hold a password.
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
from pymongo import MongoClient
from pymongo.errors import ConfigurationError, PyMongoError
from redis.connection import SSLConnection, parse_url

from changesource.authentication.claims import attribute_claims
from changesource.authentication.keys import keys_of_settings
from changesource.authentication.remote_keys import is_safe_url
from changesource.conf import JWT_ALGORITHMS, load_settings
from changesource.errors import InvalidJwtSettings
from changesource.models import App, Grant, Version
from changesource.models.app import SOURCE_PATTERN, source_variable
from changesource.mongo.source import FIXED_OPTIONS
from changesource.operations.source_report import SourceCheck, check_source, published_collections
from changesource.publishing.grants import find_not_shown
from changesource.tables.definition import shown_name


@register()
def check_sources(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """W001: no source. E011: a source with a name that no app can say. For each source's URI, E001: not usable, E002: without
    a database, W002: unknown options, W009: options that are not used."""
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
    """E015: ROOT_PATH is no path. Pages would lead to another host if it began with two slashes."""
    if not load_settings().root_path or re.fullmatch(r"(/[\w.~-]+)+", load_settings().root_path, re.ASCII):
        return []
    return [
        Error(
            "ROOT_PATH is not a path that the project can live under.",
            hint="Write /zero or /a/b, with a slash in front and none behind, or leave it empty.",
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
                hint="Write redis://host:6379/0, rediss:// for TLS, or unix:///path; leave it empty to do without.",
                id="changesource.E003",
            )
        ]
    return []


@register(Tags.security, deploy=True)
def check_redis_is_guarded(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """W010: REDIS_URL has no password. W011: it leads to another machine without TLS. Redis is believed."""
    try:
        found = parse_url(load_settings().redis_url)  # type: ignore[no-untyped-call]
    except ValueError:
        return []  # there is none, or `check_redis` says so
    if "path" in found:  # a Unix socket, which has the rights of a file
        return []
    problems: list[CheckMessage] = []
    if not found.get("password"):
        problems.append(
            Warning(
                "REDIS_URL has no password: whoever reaches Redis reads the rows of all apps and writes into every replica.",
                hint="Give Redis a user with a password (docs/security.md, Redis), and name both in REDIS_URL.",
                id="changesource.W010",
            )
        )
    if not issubclass(found.get("connection_class", object), SSLConnection) and not _is_this_machine(found.get("host")):
        problems.append(
            Warning(
                "REDIS_URL leads to another machine without TLS: whoever is on the way reads and changes rows.",
                hint="Write rediss://…, or silence this where the network between them is private.",
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


@register(Tags.database)
def check_apps(
    app_configs: Sequence[AppConfig] | None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """W003: an app names a source that is not configured. E005: the Django database does not answer.

    W003 is not an error, because an error would stop `manage.py migrate`, which needs no source.
    """
    alias = router.db_for_read(App)
    if alias not in (databases or ()):
        return []
    try:
        if App._meta.db_table not in connections[alias].introspection.table_names():
            return []  # before the first migrate
        # Columns that were there from the start: `migrate` runs this check before it adds later ones.
        apps = list(App.objects.using(alias).only("app_id", "source").exclude(source__in=load_settings().sources))
    except DriverError as exc:
        return [
            Error(
                f"The Django database does not answer ({type(exc).__name__}).",
                hint="Check DATABASE_URL, and that the database runs.",
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
    """W006: a source of which something is published has an error, W007: a warning, by the checks of `check_source`.

    Neither is an error here, for the reason that W003 is none. Takes up to `ASK_SECONDS` for all sources together.
    """
    alias = router.db_for_read(App)
    if alias not in (databases or ()):
        return []
    try:
        if App._meta.db_table not in connections[alias].introspection.table_names():
            return []
        published = {source: published_collections(source) for source in load_settings().sources}
    except DriverError:
        return []  # `check_apps` says so, or `migrate` is about to add what is missing
    asked = {source: collections for source, collections in published.items() if collections}
    with ThreadPoolExecutor(max(1, len(asked)), thread_name_prefix="check-source") as executor:
        checks = executor.map(check_source, asked.keys(), asked.values())
        return [message for check in checks for message in _messages_of(check)]


@register(Tags.database)
def check_grants(
    app_configs: Sequence[AppConfig] | None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """W012: a grant with row filters does not show a published table that it neither filters nor names, or that reads other
    documents than when it was granted."""
    alias = router.db_for_read(App)
    if alias not in (databases or ()):
        return []
    try:
        if Grant._meta.db_table not in connections[alias].introspection.table_names():
            return []
        grants = list(Grant.objects.using(alias).select_related("client", "app"))
        newest = {app: Version.objects.newest(app) for app in {grant.app for grant in grants}}
    except DriverError:
        return []  # `check_apps` says so, or `migrate` is about to add what is missing
    definitions = {app: version.to_definition() for app, version in newest.items() if version is not None}
    return [
        Warning(
            f"Client {grant.client} does not see all of {grant.app}. {text}",
            hint="Change its grant in admin; with a list of chosen tables, the others are left out on purpose.",
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
                    hint=result.remedy or f"manage.py check_source {check.source} shows all that is known.",
                    id=f"changesource.W{number:03}",
                )


@register()
def check_channel_layer(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """E004: no channel layer, which sessions hear of new changes by."""
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
    """E006: a key that cannot be used, E007: a JWKS URL without TLS, E008: no audience or no issuer, E009: an algorithm that
    is not known or has no key, E010: JWT_ATTRIBUTES or JWT_CLIENT_CLAIM cannot be read. W008: settings without keys."""
    jwt = load_settings().jwt
    if jwt.is_on:
        return [*_key_problems(), *_jwt_problems()]
    if jwt.audience or jwt.issuer or jwt.attributes:
        return [
            Warning(
                "JWTs have settings but no keys, so that none is accepted.",
                hint="Set JWT_SECRET, JWT_KEYS, JWT_KEYS_FILE or JWT_JWKS_URL, or remove the other JWT_ settings.",
                id="changesource.W008",
            )
        ]
    return []


def _key_problems() -> Iterator[CheckMessage]:
    jwt = load_settings().jwt
    try:
        algorithms = {key.algorithm for key in keys_of_settings(jwt)}
    except InvalidJwtSettings as error:
        yield Error(
            str(error.args[0]),
            hint="JWT_SECRET is a random text of 32 bytes or more; JWT_KEYS and the file at JWT_KEYS_FILE hold PEM blocks "
            "BEGIN PUBLIC KEY (RSA from 2048 bits, P-256, Ed25519) or a JWK set.",
            id="changesource.E006",
        )
        return
    if jwt.jwks_url and not is_safe_url(jwt.jwks_url):
        yield Error(
            "JWT_JWKS_URL is not an https URL.",
            hint="Write https://…; http:// only for an issuer on this machine (localhost, 127.0.0.1, [::1]).",
            id="changesource.E007",
        )
    unknown = set(jwt.algorithms) - set(JWT_ALGORITHMS)
    if unknown or not (jwt.jwks_url or algorithms & set(jwt.algorithms)):
        yield Error(
            "JWT_ALGORITHMS names an algorithm that is not known, or none that a key is for.",
            hint=f"Name some of {', '.join(JWT_ALGORITHMS)}, with commas; left out, all are accepted that have keys.",
            id="changesource.E009",
        )


def _jwt_problems() -> Iterator[CheckMessage]:
    jwt = load_settings().jwt
    for name, value in (("JWT_AUDIENCE", jwt.audience), ("JWT_ISSUER", jwt.issuer)):
        if not value:
            yield Error(
                f"JWTs have keys, and {name} is not set, so that none is accepted.",
                hint=f"Set {name} to what the tokens for this service hold in {name[4:7].lower()}.",
                id="changesource.E008",
            )
    try:
        attribute_claims(jwt.attributes)
        if not jwt.client_claim:
            raise InvalidJwtSettings("JWT_CLIENT_CLAIM is empty.")
    except InvalidJwtSettings as error:
        yield Error(
            str(error.args[0]),
            hint="JWT_ATTRIBUTES=tenant=org_id,region=https://example.com/region; JWT_CLIENT_CLAIM=sub.",
            id="changesource.E010",
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
"""What `mongo.source` says itself, whatever a URI says."""


def _unused_options(uri: str) -> list[str]:
    named = {name.lower() for name, _ in parse_qsl(uri.partition("?")[2], keep_blank_values=True)}
    return [option for option in UNUSED_OPTIONS if option.lower() in named]


def _uri_problems(name: str, uri: str) -> Iterator[CheckMessage]:
    variable = source_variable(name)
    if not re.fullmatch(SOURCE_PATTERN, name):
        yield Error(
            f"The name of the source {shown_name(name)!r} is not one that an app can say.",
            hint=f"Use letters, digits and underscores only in the name of the variable {shown_name(variable)}.",
            id="changesource.E011",
        )
    with warnings.catch_warnings(record=True) as ignored_options:
        warnings.simplefilter("always")
        try:
            client: MongoClient[dict[str, Any]] = MongoClient(uri, connect=False)
        except (PyMongoError, ValueError, OSError):  # OSError: a certificate file that cannot be read
            yield Error(
                f"{variable} is not a MongoDB URI that can be used.",
                hint=(
                    "Write mongodb://user:password@host:27017/database?replicaSet=name. Percent-encode user and "
                    "password, and see that every file that it names exists."
                ),
                id="changesource.E001",
            )
            return
    if ignored_options:
        yield Warning(
            f"{variable} has an option or a value that PyMongo does not know and ignores.",
            hint="Check the spelling of what follows the question mark.",
            id="changesource.W002",
        )
    if unused := _unused_options(uri):
        yield Warning(
            f"{variable} has options that are not used: {', '.join(unused)}.",
            hint="Take them out. What is read and written, how, and how long it may take, is not for a URI to say.",
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
