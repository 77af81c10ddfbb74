"""The page that tries out named queries: the answer of the endpoint, and what it finds in the first documents."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client as Browser
from pydantic import BaseModel

from changesource.errors import TrialBeyondLimits
from changesource.models import App, Table
from changesource.models.draft import draft_definition
from changesource.operations import query_trial
from changesource.publishing import definition_problems
from changesource.queries import ApplicationError, Caller, Query, Tables, query
from changesource.queries.registry import Registry
from changesource.trials import process
from tests.admin.pages import url
from tests.models.builders import build_app, build_table, publish
from tests.simulation.sources import PlainDatabase, default_source
from zerosources.embedded.servers import MongoServer

ROOMS = {
    "rooms.byKind": {
        "args": {"kind": "string"},
        "table": "room",
        "where": {"kind": "$args.kind"},
        "related": [{"relationship": "messages", "orderBy": [["text", "asc"]]}],
        "orderBy": [["_id", "asc"]],
    },
    "rooms.mine": {"table": "room", "where": {"$exists": {"relationship": "messages"}, "kind": {"$ne": "z"}}},
    "rooms.silent": {"table": "room", "where": {"$nor": [{"$exists": {"relationship": "messages"}}]}},
    "rooms.first": {"table": "room", "orderBy": [["_id", "asc"]], "limit": 1},
}
EVERYBODY = '{"select": [{}]}'
OWN_ROOM = '{"select": [{"owner": "$auth.sub"}, {"kind": "public"}]}'


@pytest.fixture
def database(mongo_server: MongoServer, settings: Any) -> Iterator[PlainDatabase]:
    with default_source(mongo_server, settings) as found:
        yield found


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """The query functions of the project in these tests."""
    registry = Registry()
    monkeypatch.setattr(query_trial, "registry", registry)
    monkeypatch.setattr(definition_problems, "registry", registry)
    return registry


@pytest.fixture
def app(db: None) -> App:
    """Rooms with messages, and no rules."""
    app = App.objects.create(app_id="shop", source="default", queries=ROOMS)
    optional = {"optional": True}
    build_table(
        app, "room", {"_id": {}, "kind": optional, "owner": optional}, server_name="chat_room", collection="rooms"
    )
    build_table(app, "message", {"_id": {}, "roomId": optional, "text": optional}, collection="messages")
    connection = {"sourceField": ["_id"], "destField": ["roomId"], "destSchema": "message", "cardinality": "many"}
    back = {"sourceField": ["roomId"], "destField": ["_id"], "destSchema": "room", "cardinality": "one"}
    app.relationships = {"room": {"messages": [connection]}, "message": {"room": [back]}}
    app.save()
    return app


@pytest.fixture
def filled(database: PlainDatabase) -> PlainDatabase:
    database.rooms.insert_many(
        [
            {"_id": "r1", "kind": "a", "owner": "ada"},
            {"_id": "r2", "kind": "a", "owner": "bob"},
            {"_id": "r3", "kind": "b", "owner": "ada"},
        ]
    )
    database.messages.insert_many(
        [
            {"_id": "m1", "roomId": "r1", "text": "x"},
            {"_id": "m2", "roomId": "r2", "text": "y"},
            {"_id": "m3", "roomId": "r1", "text": "secret"},
        ]
    )
    return database


def rules(app: App, **permissions: str) -> None:
    for table, text in permissions.items():
        app.tables.filter(name=table).update(permissions=text)


class Tried:
    """What the page says."""

    def __init__(
        self, browser: Browser, app: App, name: str, arguments: Any = "", claims: Any = "", **others: Any
    ) -> None:
        texts = [each if isinstance(each, str) else json.dumps(each) for each in (arguments, claims)]
        data = {"state": "draft", "query": name, "arguments": texts[0], "claims": texts[1], "documents": 100, **others}
        self.response = browser.post(url("app_queries", app.pk), data)
        assert self.response.status_code == 200
        self.text = self.response.content.decode()
        context = self.response.context
        self.errors = context["form"].errors
        self.error = context.get("error", "")
        self.details = json.loads(context.get("details", "null"))
        self.failure = " ".join(context.get("failure", []))
        self.ast = None if "more characters)" in context.get("ast", "") else json.loads(context.get("ast", "null"))
        self.samples = context.get("samples", [])
        self.places = {place["name"]: SimpleNamespace(**place) for place in context.get("places", [])}

    def rows(self, place: str = "") -> dict[str, tuple[str, str]]:
        """`_id` of each row that is shown of a place → its state, and why."""
        return {json.loads(row["text"])["_id"]: (row["state"], row["why"]) for row in self.places[place].rows}


FOUND = ("found", "")


def test_the_page_of_an_app_leads_there(browser: Browser, app: App) -> None:
    """It lists the queries, each with its arguments and a link that fills in its name. A new app has none."""
    assert url("app_queries", app.pk) in browser.get(url("app_change", app.pk)).content.decode()
    assert "Try queries" not in browser.get(url("app_add")).content.decode()
    text = browser.get(url("app_queries", app.pk)).content.decode()
    assert '<a href="?query=rooms.byKind"><code>rooms.byKind</code></a>' in text
    assert "{&quot;kind&quot;: &quot;string&quot;}" in text
    assert 'value="rooms.first"' in browser.get(url("app_queries", app.pk) + "?query=rooms.first").content.decode()


def test_the_ast_is_the_one_that_zero_cache_gets(browser: Browser, app: App, filled: PlainDatabase) -> None:
    """With server names, and with the rules of each table for this caller."""
    rules(app, room=OWN_ROOM, message=EVERYBODY)
    tried = Tried(browser, app, "rooms.byKind", {"kind": "a"}, {"sub": "ada"})
    assert tried.ast["table"] == "chat_room"
    assert '"value": "ada"' in json.dumps(tried.ast["where"])
    assert tried.ast["related"][0]["subquery"] == {
        "table": "message",
        "alias": "messages",
        "orderBy": [["text", "asc"]],
    }


def test_a_row_is_hidden_by_rules_that_do_not_match_it(browser: Browser, app: App, filled: PlainDatabase) -> None:
    """The page says why each of them does not, and that what comes with the row is not shown."""
    rules(app, room=OWN_ROOM, message=EVERYBODY)
    tried = Tried(browser, app, "rooms.byKind", {"kind": "a"}, {"sub": "ada"})
    assert tried.rows() == {"r1": FOUND, "r2": ("hidden", "rules")}
    assert tried.rows("messages") == {"m1": FOUND, "m3": FOUND, "m2": ("hidden", "parent")}
    assert "owner is &#x27;bob&#x27;, $auth.sub is &#x27;ada&#x27;" in tried.text
    assert "kind is &#x27;a&#x27;" in tried.text
    assert "The rows with which it comes are hidden." in tried.text
    assert "EXISTS" not in tried.text
    assert "1 row found, 1 hidden" in tried.text
    assert "2 rows found, 1 hidden" in tried.text


def test_a_table_without_a_select_rule_is_said_to_have_none(browser: Browser, app: App, filled: PlainDatabase) -> None:
    """Its rows are hidden from everyone."""
    rules(app, room=EVERYBODY)
    tried = Tried(browser, app, "rooms.byKind", {"kind": "a"})
    assert tried.rows() == {"r1": FOUND, "r2": FOUND}
    assert tried.rows("messages") == dict.fromkeys(("m1", "m2", "m3"), ("hidden", "rules"))
    assert "The table <code>message</code> has no select rule" in tried.text


def test_a_row_is_hidden_by_the_rules_of_rows_that_the_query_asks_about(
    browser: Browser, app: App, filled: PlainDatabase
) -> None:
    """An EXISTS does not count rows that are hidden."""
    rules(app, room=EVERYBODY, message='{"select": [{"text": "y"}]}')
    tried = Tried(browser, app, "rooms.mine")
    assert tried.rows() == {"r1": ("hidden", "related"), "r2": FOUND}
    assert tried.rows("exists messages") == {"m1": ("hidden", "rules"), "m3": ("hidden", "rules"), "m2": FOUND}
    assert "The query asks about rows of <code>message</code>, and these are hidden." in tried.text
    assert "Of rows behind an EXISTS, zero-cache syncs a few." in tried.text


def test_an_exists_on_a_table_without_rules_finds_nothing(browser: Browser, app: App, filled: PlainDatabase) -> None:
    """Although it is no longer in the AST."""
    rules(app, room=EVERYBODY)
    tried = Tried(browser, app, "rooms.mine")
    assert tried.ast["where"]["left"] == {"type": "literal", "value": 0}
    assert tried.rows() == dict.fromkeys(("r1", "r2"), ("hidden", "related"))
    assert tried.rows("exists messages")["m1"] == ("hidden", "rules")


def test_rows_that_are_found_only_with_the_rules_are_told_apart(
    browser: Browser, app: App, filled: PlainDatabase
) -> None:
    """Where a NOT EXISTS asks about hidden rows, or a limit lets in the next row."""
    rules(app, room='{"select": [{"_id": {"$ne": "r1"}}]}', message='{"select": [{"text": "x"}]}')
    first = Tried(browser, app, "rooms.first")
    assert first.rows() == {"r1": ("hidden", "rules"), "r2": ("added", "")}
    silent = Tried(browser, app, "rooms.silent")
    assert silent.rows() == {"r3": FOUND, "r2": ("added", "")}
    assert "found only with the rules" in silent.text


def test_a_row_can_be_hidden_by_the_limit(browser: Browser, app: App, filled: PlainDatabase) -> None:
    """Where the rules let the query find others, which come before it."""
    app.queries = {"q": {**ROOMS["rooms.silent"], "orderBy": [["_id", "asc"]], "limit": 1}}
    app.save()
    rules(app, room=EVERYBODY)
    assert Tried(browser, app, "q").rows() == {"r3": ("hidden", "limit"), "r1": ("added", "")}


def test_rules_look_for_related_rows_in_the_sample(browser: Browser, app: App, filled: PlainDatabase) -> None:
    """Also in tables of which the query reads nothing."""
    rules(app, message='{"select": [{"$exists": {"relationship": "room", "where": {"owner": "$auth.sub"}}}]}')
    app.queries = {"all": {"table": "message"}}
    app.save()
    tried = Tried(browser, app, "all", claims={"sub": "ada"})
    assert tried.rows() == {"m1": FOUND, "m3": FOUND, "m2": ("hidden", "rules")}
    assert list(tried.places) == [""]
    assert [(each["table"], each["documents"]) for each in tried.samples] == [("room", 3), ("message", 3)]


def test_the_page_says_that_it_shows_a_sample(browser: Browser, app: App, filled: PlainDatabase) -> None:
    """And how large it is, for each collection."""
    filled.rooms.insert_many([{"_id": f"s{number:03}", "kind": "a"} for number in range(100)])
    app.tables.get(name="message").columns.filter(name="text").update(type="number")
    rules(app, room=EVERYBODY, message=EVERYBODY)
    text = Tried(browser, app, "rooms.byKind", {"kind": "a"}, documents=50).text
    assert "<code>room</code>: the first 50 documents of <code>rooms</code>, with 50 rows" in text
    documents = "all 3 documents of <code>messages</code>, with 3 rows; 3 documents have row errors"
    assert f"<code>message</code>: {documents}" in text
    assert "49 rows found, 0 hidden" in text
    assert "19 more rows not shown" in text


def test_an_empty_collection_gives_no_rows(browser: Browser, app: App, database: PlainDatabase) -> None:
    tried = Tried(browser, app, "rooms.first")
    assert tried.places[""].found == tried.places[""].hidden == 0
    assert "all 0 documents" in tried.text


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("rooms.byKin", "", "Query not found: rooms.byKin. Did you mean rooms.byKind?"),
        ("__proto__", "", "Query not found: __proto__"),
        ("rooms.byKind", "", "Validation failed for query rooms.byKind: kind is string."),
        ("rooms.byKind", '{"kind": {"$ne": null}}', "Validation failed for query rooms.byKind: kind is string."),
        ("rooms.byKind", '{"__proto__": {"kind": "a"}}', "Validation failed for query rooms.byKind: kind is string."),
        ("rooms.byKind", "[1]", "Validation failed for query rooms.byKind: The argument is an object."),
        ("rooms.byKind", '{"kind": "\\ud800"}', "Validation failed for query rooms.byKind: kind is string."),
        ("rooms.byKind", "null", "Validation failed for query rooms.byKind: kind is string."),
    ],
)
def test_an_error_of_the_endpoint_is_shown_as_the_client_gets_it(
    browser: Browser, app: App, name: str, arguments: str, message: str
) -> None:
    """No document is read for it."""
    tried = Tried(browser, app, name, arguments)
    assert (tried.error, tried.ast, tried.samples) == (message, None, [])
    if "Validation" in message:
        assert tried.details["type"] == "InputValidationError"


@pytest.mark.parametrize(
    ("field", "text", "message"),
    [
        ("arguments", "{", "This is not JSON: line 1, column 2"),
        ("arguments", "NaN", "NaN is not JSON"),
        ("arguments", "[" * 19_000, "nested too deeply"),
        ("arguments", "1" * 10_000, "A number is too long."),
        ("arguments", '"' + "x" * 20_000 + '"', "at most 20000 characters"),
        ("claims", "[]", "Write claims as a JSON object"),
        ("claims", '{"sub": NaN}', "NaN is not JSON"),
        ("claims", '{"sub": 1}', "sub is the id of the user"),
        ("claims", '{"sub": ""}', "sub is the id of the user"),
        ("claims", "[" * 5_000, "nested"),
        ("token", "x", "A JWT has three parts"),
        ("documents", "0", "greater than or equal to 1"),
        ("documents", "1001", "less than or equal to 1000"),
        ("documents", "", "This field is required."),
        ("query", "", "This field is required."),
        ("query", "q" * 201, "at most 200 characters"),
        ("state", "7", "not one of the available choices"),
    ],
)
def test_bad_input_is_told_at_its_field(browser: Browser, app: App, field: str, text: str, message: str) -> None:
    """Nothing is asked then."""
    data = {"state": "draft", "query": "rooms.first", "documents": 5, field: text}
    response = browser.post(url("app_queries", app.pk), data)
    errors = response.context["form"].errors
    assert list(errors) == [field]
    assert message in errors[field][0]
    assert "ast" not in response.context


class Room(BaseModel):
    kind: str


class TestFunctions:
    """Functions in Python, which are found by their names."""

    def test_a_function_is_called_with_arguments_and_caller(
        self, browser: Browser, app: App, filled: PlainDatabase, registry: Registry
    ) -> None:
        """An empty input for the claims is a visitor."""
        callers = []

        @query("of", app="shop", registry=registry)
        def function(q: Tables, args: Room, caller: Caller) -> Query:
            callers.append(caller)
            return q.room.where("kind", args.kind)

        rules(app, room=EVERYBODY)
        assert Tried(browser, app, "of", {"kind": "b"}, {"sub": "ada", "n": 1}).rows() == {"r3": FOUND}
        assert callers[-1] == Caller("ada", {"sub": "ada", "n": 1})
        assert "{ readonly kind: string }" in Tried(browser, app, "of", {"kind": "b"}).text
        assert callers[-1] == Caller()

    def test_what_a_function_raises_has_a_number(
        self, browser: Browser, app: App, registry: Registry, caplog: pytest.LogCaptureFixture
    ) -> None:
        """As for the client. The log has it under this number."""

        @query("broken", app="shop", registry=registry)
        def function(q: Tables) -> Query:
            return q.room.where("kind", str(1 / 0))

        with caplog.at_level(logging.ERROR):
            tried = Tried(browser, app, "broken")
        assert tried.error.startswith("The query failed. The server's log has the reason under ")
        assert tried.error.split()[-1].rstrip(".") in caplog.text
        assert "ZeroDivisionError" not in tried.text

    def test_what_a_function_tells_the_client_is_shown(self, browser: Browser, app: App, registry: Registry) -> None:
        """Whatever characters it has."""

        @query("closed", app="shop", registry=registry)
        def function(q: Tables, caller: Caller) -> Query:
            if caller.user_id is None or not always:
                raise ApplicationError("<Log in> \ud800", details={"\udfff": 1})
            return q.room

        always = [1]
        tried = Tried(browser, app, "closed")
        assert (tried.error, tried.details) == ("<Log in> \\ud800", {"\udfff": 1})
        assert "&lt;Log in&gt;" in tried.text
        always.clear()  # then the draft has a problem
        assert "<Log in> \\ud800" in Tried(browser, app, "closed").failure

    def test_a_query_over_a_table_that_the_draft_does_not_have_is_an_error(
        self, browser: Browser, app: App, filled: PlainDatabase, registry: Registry
    ) -> None:
        """A draft with such a function cannot be published, but the version that streams may have the table."""
        table = build_table(app, "extra", {"_id": {}}, permissions=EVERYBODY)
        publish(app)
        table.delete()

        @query("extra", app="shop", registry=registry)
        def function(q: Tables) -> Query:
            return q.extra

        tried = Tried(browser, app, "extra")
        assert "There is no table 'extra'" in tried.error + tried.failure
        assert tried.samples == []
        assert Tried(browser, app, "extra", state="1").ast == {"table": "extra"}

    def test_a_function_is_called_once(
        self, browser: Browser, app: App, filled: PlainDatabase, registry: Registry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It must build the same query each time, but if it does not, the page compares one query with and without rules."""
        calls = []

        @query("random", app="shop", registry=registry)
        def function(q: Tables, caller: Caller) -> Query:
            calls.append(type(caller))
            return q.room.related("messages") if len(calls) % 2 else q.message.related("room")

        rules(app, room=EVERYBODY, message=EVERYBODY)
        tried = Tried(browser, app, "random")
        assert calls.count(Caller) == 1
        assert all(state == "found" for place in tried.places for state, _ in tried.rows(place).values())

    @pytest.mark.parametrize(("method", "depth"), [("related", 60), ("where_exists", 60), ("related", 300)])
    def test_a_deep_query_is_answered_as_by_the_endpoint(
        self, browser: Browser, app: App, filled: PlainDatabase, registry: Registry, method: str, depth: int
    ) -> None:
        """One that is too deep fails there."""

        @query("deep", app="shop", registry=registry)
        def function(q: Tables, args: Room) -> Query:
            def nested(room: Query, left: int = int(args.kind)) -> Query:
                return room if left == 0 else getattr(room, method)("messages", lambda m: back(m, left - 1))

            def back(message: Query, left: int) -> Query:
                return getattr(message, method)("room", lambda room: nested(room, left))

            return nested(q.room)

        rules(app, room=EVERYBODY, message=EVERYBODY)
        tried = Tried(browser, app, "deep", {"kind": str(depth)})
        assert len(tried.places) == (2 * depth + 1 if depth == 60 else 0)
        assert tried.error.startswith("The query failed.") == (depth == 300)

    @pytest.mark.parametrize("depth", [200, 5_000])
    def test_a_query_that_is_too_deep_for_a_trial_is_refused(self, app: App, filled: PlainDatabase, depth: int) -> None:
        """A trial takes more of the stack than the endpoint does."""
        ast: Any = {"table": "message", "alias": "zsubq_messages"}
        for _ in range(depth):
            correlation = {"parentField": ["_id"], "childField": ["_id"]}
            related = {"system": "client", "correlation": correlation, "subquery": ast}
            ast = {**ast, "where": {"type": "correlatedSubquery", "op": "EXISTS", "related": related}}
        asked = query_trial.AskedQuery(draft_definition(app), Caller(), ast, ast)
        with pytest.raises(TrialBeyondLimits, match="nested too deeply"):
            query_trial.try_query(asked, 10)


def test_the_version_that_streams_can_be_asked(browser: Browser, app: App, filled: PlainDatabase) -> None:
    """With its queries and rules, while the draft has others."""
    rules(app, room=EVERYBODY, message=EVERYBODY)
    publish(app)
    rules(app, room="")
    app.queries = {}
    app.save()
    assert "Query not found" in Tried(browser, app, "rooms.first").error
    assert Tried(browser, app, "rooms.first", state="1").rows() == {"r1": FOUND}


def test_a_draft_with_problems_is_not_tried(browser: Browser, app: App, filled: PlainDatabase) -> None:
    """They are listed."""
    Table.objects.filter(name="message").update(mapping="{")
    tried = Tried(browser, app, "rooms.first")
    assert "shop cannot be published." in tried.failure
    assert "message.mapping" in tried.failure
    assert tried.ast is None


@pytest.mark.parametrize(
    ("sources", "code"),
    [({}, "CS101"), ({"default": "mongodb://127.0.0.1:9/shop?serverSelectionTimeoutMS=1"}, "CS103")],
)
def test_the_ast_is_shown_without_a_source(
    browser: Browser, app: App, settings: Any, monkeypatch: pytest.MonkeyPatch, sources: dict[str, str], code: str
) -> None:
    """With why there are no rows."""
    monkeypatch.setattr(process, "MODULE", "tests.trials.impatient")
    settings.CHANGESOURCE_SOURCES = sources
    tried = Tried(browser, app, "rooms.first")
    assert tried.ast["table"] == "chat_room"
    assert code in tried.failure


def test_an_app_without_tables_and_queries_has_a_page(browser: Browser, db: None) -> None:
    app = App.objects.create(app_id="new", source="default")
    assert "This app has no queries." in browser.get(url("app_queries", app.pk)).content.decode()
    assert "cannot be published" in Tried(browser, app, "any").failure


def test_a_token_is_decoded_and_not_sent_back(browser: Browser, app: App, filled: PlainDatabase) -> None:
    """Its claims are shown in its place."""
    rules(app, room=OWN_ROOM)
    token = "e30.eyJzdWIiOiJhZGEifQ.forged"  # {"sub": "ada"}
    tried = Tried(browser, app, "rooms.first", token=token)
    assert tried.rows() == {"r1": FOUND}
    assert "not verified" in tried.text
    assert token not in tried.text
    assert "&quot;sub&quot;: &quot;ada&quot;" in tried.text


def test_nothing_is_logged_or_kept(
    browser: Browser, app: App, filled: PlainDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither documents nor arguments nor claims."""
    rules(app, room=EVERYBODY, message=EVERYBODY)
    with caplog.at_level("INFO"):
        tried = Tried(browser, app, "rooms.byKind", {"kind": "a"}, {"sub": "my-claim"})
    assert "secret" in tried.text
    assert "secret" not in caplog.text
    assert "my-claim" not in caplog.text
    assert not LogEntry.objects.exists()
    assert tried.response["Cache-Control"].startswith("no-store")


def test_a_heavy_query_is_stopped(
    browser: Browser, app: App, filled: PlainDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs in the process of a trial, with the limits of a page."""
    monkeypatch.setattr(process, "MODULE", "tests.trials.hostile")
    monkeypatch.setenv("BURN_INSTEAD", "1")
    tried = Tried(browser, app, "rooms.first")
    assert "CS208: The trial took more than 5 seconds of processor time" in tried.failure


def test_a_large_page_is_cut(browser: Browser, app: App, filled: PlainDatabase) -> None:
    """Long texts are, and what has no room is left out and mentioned."""
    filled.rooms.insert_many([{"_id": f"s{number}", "kind": "<" * 500_000} for number in range(40)])
    rules(app, room=OWN_ROOM)
    tried = Tried(browser, app, "rooms.mine")
    assert len(tried.response.content) < 2**21
    tried = Tried(browser, app, "rooms.first")
    assert len(tried.response.content) < 2**20


def staff(*permissions: str) -> Browser:
    user = User.objects.create_user("grace", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    browser = Browser()
    browser.force_login(user)
    return browser


DRAFTS = ("view_app", "view_table", "view_column")


class TestPermissions:
    """Documents are shown to those who may see them in a preview, and to nobody else."""

    @pytest.mark.parametrize(
        ("permissions", "status"),
        [
            (DRAFTS, 200),
            (("change_app", "change_table", "change_column"), 200),
            (("view_app", "view_version"), 403),
            (("view_app", "view_table"), 403),
            (("view_app", "view_column"), 403),
            (("view_table", "view_column"), 403),
            ((), 403),
        ],
    )
    def test_documents_take_the_permission_to_view_tables(
        self, app: App, filled: PlainDatabase, permissions: tuple[str, ...], status: int
    ) -> None:
        rules(app, room=EVERYBODY, message=EVERYBODY)
        browser = staff(*permissions)
        data = {"state": "draft", "query": "rooms.byKind", "arguments": '{"kind": "a"}', "documents": 5}
        assert browser.get(url("app_queries", app.pk)).status_code == status
        response = browser.post(url("app_queries", app.pk), data)
        assert response.status_code == status
        assert ("secret" in response.content.decode()) == (status == 200)
        page = browser.get(url("app_change", app.pk))
        assert ("Try queries" in page.content.decode()) == (status == 200)

    def test_a_version_takes_the_permission_to_view_versions(self, app: App, filled: PlainDatabase) -> None:
        """Whatever is sent."""
        rules(app, room=EVERYBODY)
        publish(app)
        browser = staff(*DRAFTS)
        assert list(Tried(browser, app, "rooms.first", state="1").errors) == ["state"]
        assert "version 1</option>" not in browser.get(url("app_queries", app.pk)).content.decode()

    def test_a_permission_for_one_app_shows_no_documents(self, app: App, settings: Any) -> None:
        """A backend with object permissions may show drafts of one app. Previews take the permission for all tables."""
        settings.AUTHENTICATION_BACKENDS = [*settings.AUTHENTICATION_BACKENDS, f"{__name__}.OneApp"]
        assert staff("view_app").get(url("app_queries", app.pk)).status_code == 403

    def test_a_visitor_has_to_log_in(self, client: Browser, app: App) -> None:
        assert client.get(url("app_queries", app.pk)).status_code == 302

    @pytest.mark.parametrize("pk", ["999", "x"])
    def test_an_unknown_app_is_not_found(self, browser: Browser, app: App, pk: str) -> None:
        assert browser.get(url("app_queries", pk)).status_code == 404


class OneApp:
    """Lets everybody view the tables of every app that is asked about."""

    def authenticate(self, request: Any, **credentials: Any) -> None:
        return None

    def has_perm(self, user: Any, permission: str, obj: Any = None) -> bool:
        return obj is not None and permission in ("changesource.view_table", "changesource.view_column")


def test_another_app_has_other_functions(
    browser: Browser, app: App, database: PlainDatabase, registry: Registry
) -> None:
    """Those that are declared for it."""
    query("theirs", app="other", registry=registry)(lambda q: q.city)
    query("ours", app="shop", registry=registry)(lambda q: q.room)
    other = build_app("other")
    assert "Query not found" in Tried(browser, app, "theirs").error
    assert Tried(browser, other, "theirs").ast["table"] == "city"
    assert "ours" not in browser.get(url("app_queries", other.pk)).content.decode()
