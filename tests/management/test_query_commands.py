"""`zero_queries` and `zero_env`."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from pydantic import BaseModel

from changesource.consumers import STREAM_PATH
from changesource.models import App, Version
from changesource.operations import query_report, zero_environment
from changesource.publishing import exported
from changesource.publishing.versions import begin_publish
from changesource.queries import Query, Tables
from changesource.queries.registry import Registry, query
from tests.models.builders import build_app, build_table

pytestmark = pytest.mark.django_db


class Named(BaseModel):
    name: str
    kinds: list[str] = []


@pytest.fixture(autouse=True)
def default_source(settings) -> None:
    settings.CHANGESOURCE_SOURCES = {"default": "mongodb://localhost/shop"}


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """Query functions for the app shop, instead of those of this process."""
    found = Registry()

    @query("cities.named", app="shop", registry=found)
    def named(q: Tables, args: Named) -> Query:
        return q.city.where("name", args.name)

    @query("cities.some", app="shop", registry=found)
    def some(q: Tables, args: Named) -> Query:
        return q.city if args.kinds else q.city.limit(1)

    @query("countries.all", app="shop", registry=found)
    def countries(q: Tables) -> Query:
        return q.country

    for module in (query_report, exported):
        monkeypatch.setattr(module, "registry", found)
    return found


@pytest.fixture
def app() -> App:
    """With the table `city` in version 1, and `country`, which has a rule, in the draft."""
    app = build_app()
    Version.objects.confirm(begin_publish(app).nonce, cluster_time=1)
    country = build_table(app, "country", {"_id": {}})
    country.permissions = '{"select": [{}]}'
    country.save()
    return app


def run(command: str, *arguments: str) -> tuple[str, str]:
    """What the command writes to stdout and to stderr."""
    output, errors = StringIO(), StringIO()
    call_command(command, *arguments, stdout=output, stderr=errors)
    return output.getvalue(), errors.getvalue()


def test_queries_are_listed_with_arguments_tables_and_rules(app: App, registry: Registry) -> None:
    """By default over what is published; a query that needs a table of the draft does not work there."""
    output, _ = run("zero_queries", "shop")
    here = f"{__name__}.registry.<locals>"
    assert output.splitlines() == [
        f"cities.named ({here}.named)",
        "  arguments: { readonly name: string; readonly kinds?: readonly string[] }",
        "  reads: city (no rules: shows nothing)",
        f"cities.some ({here}.some)",
        "  arguments: { readonly name: string; readonly kinds?: readonly string[] }",
        "  reads: not known before it is asked for",
        "  cannot be followed, so clients have to write its body: It depends on the value of args.kinds.",
        f"countries.all ({here}.countries)",
        "  arguments: none",
        "  does not work: There is no table 'country'.",
    ]


def test_queries_are_listed_over_the_draft(app: App, registry: Registry) -> None:
    """What is written with the app is among them."""
    App.objects.filter(pk=app.pk).update(queries={"cities.written": {"args": {"n": "string"}, "table": "city"}})
    output, _ = run("zero_queries", "shop", "--draft")
    assert "  reads: country (1 rule)" in output
    assert "cities.written (the app's definition)\n  arguments: { readonly n: string }\n" in output


def test_an_app_without_queries_says_so() -> None:
    """On stderr, as there is nothing to list."""
    app = build_app()
    Version.objects.confirm(begin_publish(app).nonce, cluster_time=1)
    assert run("zero_queries", "shop") == ("", "shop has no named queries.\n")


def test_queries_of_what_is_not_there_are_refused() -> None:
    """It is said what to do."""
    with pytest.raises(CommandError, match="There is no app 'nope'"):
        run("zero_queries", "nope")
    build_app()
    with pytest.raises(CommandError, match="shop has never been published"):
        run("zero_queries", "shop")


def test_an_export_switches_legacy_queries_off_with_the_first_named_query(app: App, registry: Registry) -> None:
    """Unless it is told otherwise. Without named queries they are on, as an app without them needs them."""
    flag = "enableLegacyQueries"
    typescript = ["export_schema", "shop", "--format", "typescript"]
    assert flag not in run(*typescript)[0]
    assert "named: defineQuery(({ args }: Given<CitiesNamedArgs>) =>" in run(*typescript)[0]
    assert f"{flag}: true" in run(*typescript, "--legacy-queries")[0]
    assert flag not in run("export_schema", "shop", "--format", "zero-json")[0]
    registry._queries.clear()
    assert f"{flag}: true" in run(*typescript)[0]
    assert f'"{flag}": true' in run("export_schema", "shop", "--format", "zero-json")[0]
    assert flag not in run(*typescript, "--no-legacy-queries")[0]


def test_variables_of_zero_cache_are_printed_without_a_secret(app: App) -> None:
    """Those that depend on the app and on the URL have values; the others are comments."""
    output, _ = run("zero_env", "shop", "--url", "https://sources.example.com/zero/")
    assert dict(line.split("=", 1) for line in output.splitlines() if line and not line.startswith("#")) == {
        "ZERO_APP_ID": "shop",
        "ZERO_UPSTREAM_TYPE": "custom",
        "ZERO_UPSTREAM_DB": "wss://zero-cache:TOKEN@sources.example.com/zero/changes/v0/stream",
        "ZERO_QUERY_URL": "https://sources.example.com/zero/api/zero/query",
        "ZERO_QUERY_API_KEY": "TOKEN",
    }
    for name in ("ZERO_CVR_DB", "ZERO_CHANGE_DB", "ZERO_REPLICA_FILE", "ZERO_ADMIN_PASSWORD"):
        assert f"\n# {name}=" in output


def test_variables_have_a_local_url_by_default(app: App, settings) -> None:
    """With the path under which this service lives, and with the paths at which it answers."""
    settings.CHANGESOURCE = {**settings.CHANGESOURCE, "root_path": "/zero"}
    output, _ = run("zero_env", "shop")
    assert f"ZERO_UPSTREAM_DB=ws://zero-cache:TOKEN@localhost:8000/zero{STREAM_PATH}\n" in output
    assert "ZERO_QUERY_URL=http://localhost:8000/zero/api/zero/query\n" in output
    assert zero_environment.STREAM_PATH == STREAM_PATH


@pytest.mark.parametrize(
    "url",
    [
        "other.example.com",
        "ws://sources",
        "https://:1",
        "https://user:hunter2@sources",
        "https://x/?q=1",
        "http://x:99999",
        "http://x/$(id)",
    ],
)
def test_what_is_no_url_of_this_service_is_refused_without_repeating_it(app: App, url: str) -> None:
    """It may hold a password."""
    with pytest.raises(CommandError, match="looks like https") as raised:
        run("zero_env", "shop", "--url", url)
    assert url not in str(raised.value)


def test_variables_of_an_unknown_app_are_refused() -> None:
    """Rather than printed with a name that zero-cache could not use."""
    with pytest.raises(CommandError, match="There is no app 'nope'"):
        run("zero_env", "nope")
