"""Named queries as TypeScript, compiled by the real `tsc --strict` and run by Node with `@rocicorp/zero`."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from changesource.errors import InvalidDefinition
from changesource.publishing.exports.typescript import typescript_schema
from changesource.queries import ApplicationError, Caller
from changesource.queries.arguments import Arguments
from changesource.queries.bodies import NoBody, body_of, evaluated
from changesource.queries.builder import Ast, _simplified
from changesource.queries.registry import NamedQuery
from changesource.queries.written import WrittenQuery, written_queries
from changesource.tables.definition import AppDefinition
from tests.node.tools import run_queries
from tests.publishing.exports.definitions import EVERYTHING
from tests.publishing.exports.queries import WRITTEN, registry
from tests.publishing.exports.query_programs import SCOPE, TABLES, arguments, callers, named_queries, numbers, texts
from tests.publishing.exports.test_typescript import Folder

DEFINITION = replace(EVERYTHING, queries=WRITTEN)
QUERIES = registry.of_app("shop")

REGISTERED = """
export {};
declare module "@rocicorp/zero" {
  interface DefaultTypes {
    schema: import("./schema.ts").Schema;
    context: import("./schema.ts").Context;
  }
}
"""

USE = """
import {Zero, defineQueries, defineQuery} from "@rocicorp/zero";
import {
  keepConnected, queries as generated, schema, zql, type Context,
  type CustomersSearchArgs, type MisfitsValueArgs, type ToFill,
} from "./schema.ts";

const misfit = defineQuery((_: {args: MisfitsValueArgs}) => zql.customer);
export const queries = defineQueries(generated, {
  customers: {
    search: defineQuery(({args}: {args: CustomersSearchArgs}) => zql.customer.where("_id", "LIKE", args.text)),
    ofKind: defineQuery(({args}: {args: {readonly kind: "open" | "closed"}}) => zql.customer.where("_id", args.kind)),
  },
  misfits: {value: misfit, list: misfit, limit: misfit, whole: misfit},
} satisfies ToFill);

const context: Context = {userID: null, claims: {role: "admin", other: [1]}};
const zero = new Zero({schema, userID: "u", cacheURL: null, context});
export const stop: () => void = keepConnected(zero);

export const customers: Promise<{readonly _id: string}[]> = zero.run(queries.customers.all());
export const customer: Promise<{readonly _id: string} | undefined> = zero.run(queries.customers.byId({customer: "c"}));
export const others = [
  zero.run(queries.customers.search({text: "x"})),
  zero.run(queries.customers.referredBy()),
  zero.run(queries.customers.referredBy({page: {}})),
  zero.run(queries.orders.mine()),
  zero.run(queries.orders.ofCustomer({customer: "c", minPrice: null})),
];
"""

FILLED_BADLY = """
import {Zero, defineQueries, defineQuery} from "@rocicorp/zero";
import {queries, schema, zql, type ToFill} from "./schema.ts";

// @ts-expect-error It has no body, and so no arguments suit it.
export const a = queries.customers.search({text: "x"});
// @ts-expect-error The same without arguments.
export const b = queries.customers.search();
const search = defineQuery(({args}: {args: {readonly text: string}}) => zql.customer.where("_id", args.text));
// @ts-expect-error `ofKind` has been left out.
export const c = {customers: {search}} satisfies ToFill;
// @ts-expect-error Its argument is not a number.
export const d = defineQueries(queries, {customers: {search}}).customers.search({text: 1});
// @ts-expect-error `everything` has arguments.
export const e = queries.everything();
// @ts-expect-error `all` has none.
export const f = queries.customers.all({});
export const g = defineQueries(queries, {customers: {search}}).customers.search({text: "x"});
"""

WITHOUT_CONTEXT = """
import {Zero} from "@rocicorp/zero";
import {queries, schema} from "./schema.ts";

const zero = new Zero({schema, userID: "u", cacheURL: null});
export const a = zero.run(queries.customers.all());
export const b = zero.run(queries.customers.byId({customer: "c"}));
// @ts-expect-error It looks at the context.
export const c = zero.run(queries.orders.mine());
"""


KEEP_CONNECTED = """
import {mock} from "node:test";

mock.timers.enable({apis: ["setTimeout", "Date"], now: 1e12});
mock.method(Math, "random", () => 1);
const {keepConnected} = await import(process.argv[1]);
const listeners = new Set();
const tries = [];
const go = state => {
  zero.connection.state.current = state;
  listeners.forEach(listener => listener(state));
};
const pass = seconds => {
  for (let step = 0; step < seconds * 10; step++) mock.timers.tick(100);
};
const zero = {
  connection: {
    state: {
      current: {name: "error"},
      subscribe: listener => (listeners.add(listener), () => listeners.delete(listener)),
    },
    connect: async () => {
      tries.push((Date.now() - 1e12) / 1000);
      go({name: "connecting"});
      go({name: "error"});
    },
  },
};
const stop = keepConnected(zero);
pass(100);
go({name: "connected"});
pass(200);
go({name: "needs-auth"});
pass(200);
go({name: "error"});
pass(2);
stop();
go({name: "error"});
pass(200);
console.log(JSON.stringify(tries), listeners.size);
"""


def exported(path: Path, queries: Mapping[str, NamedQuery] = QUERIES, definition: AppDefinition = DEFINITION) -> Folder:
    """A folder with `schema.ts`."""
    found = Folder(path, [])
    (path / "schema.ts").write_text(typescript_schema(definition, queries, legacy_queries=False))
    return found


def test_text() -> None:
    """What people get to see."""
    text = typescript_schema(DEFINITION, QUERIES, legacy_queries=False)
    assert text.partition("export const zql")[2] == Path(__file__).with_name("expected_queries.ts").read_text()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("misfits.value", "args.number is never a string, which _id holds."),
        ("misfits.list", "args.texts is never a list of values that price holds."),
        ("misfits.limit", "args.texts is a limit, and may be something else than a number."),
        ("misfits.whole", "caller.claims is compared as a whole."),
    ],
)
def test_what_typescript_would_refuse_gets_a_placeholder_with_the_reason(name: str, reason: str) -> None:
    """The server refuses it for all values, which a trace does not have."""
    text = typescript_schema(EVERYTHING, {name: QUERIES[name]})
    assert f"// {name} has no body. Its function cannot be followed: {reason}\n" in text


def test_an_export_without_queries_is_as_before() -> None:
    """An app without named queries gets the same bytes, with the queries that clients define themselves."""
    assert typescript_schema(EVERYTHING, {}) == typescript_schema(EVERYTHING)
    assert "enableLegacyQueries: true" in typescript_schema(EVERYTHING, {})
    assert "enableLegacyQueries" not in typescript_schema(EVERYTHING, {}, legacy_queries=False)


def test_queries_that_all_need_another_schema_compile(tmp_path: Path) -> None:
    """Nothing is imported or declared for nothing."""
    assert exported(tmp_path, {"missing.table": QUERIES["missing.table"]}, EVERYTHING).compile() == ""


@pytest.mark.not_fast
@pytest.mark.parametrize("registered", [False, True])
def test_filled_placeholders_compile(tmp_path: Path, registered: bool) -> None:
    """An app that fills in what is missing compiles, whether or not the schema and the context are Zero's defaults there."""
    folder = exported(tmp_path)
    (tmp_path / "use.ts").write_text(USE)
    if registered:
        (tmp_path / "types.ts").write_text(REGISTERED)
    assert folder.compile() == ""


@pytest.mark.not_fast
def test_tsc_refuses_placeholders_that_are_not_filled(tmp_path: Path) -> None:
    """So are arguments of another type; and what refuses them is the type of this query."""
    folder = exported(tmp_path)
    (tmp_path / "use.ts").write_text(FILLED_BADLY.replace("import {Zero, ", "import {").replace("schema, zql", "zql"))
    assert folder.compile() == ""
    (tmp_path / "use.ts").write_text('import {queries} from "./schema.ts";\nqueries.customers.search({text: "x"});\n')
    assert """not assignable to parameter of type 'Unfilled<"customers.search">'""" in folder.compile()


@pytest.mark.not_fast
def test_only_queries_that_look_at_the_context_need_it(tmp_path: Path) -> None:
    """A client without a context runs the others."""
    folder = exported(tmp_path)
    (tmp_path / "use.ts").write_text(WITHOUT_CONTEXT)
    assert folder.compile() == ""


@pytest.mark.not_fast
def test_placeholders_say_what_to_do_when_they_run(tmp_path: Path) -> None:
    """tsc is not asked everywhere."""
    exported(tmp_path)
    (answer,) = run_queries(tmp_path / "schema.ts", [{"name": "customers.search", "args": {"text": "x"}}])
    assert answer == {"error": "The query customers.search has no body. Fill it in with defineQueries."}


@pytest.mark.not_fast
# Without shrinking, which would take minutes: each example starts by writing a module.
@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(queries=named_queries(), values=st.lists(st.tuples(arguments, callers), min_size=4, max_size=8), data=st.data())
def test_bodies_build_what_the_functions_build(
    tmp_path_factory: pytest.TempPathFactory,
    queries: dict[str, NamedQuery],
    values: list[tuple[Any, Caller]],
    data: st.DataObject,
) -> None:
    """For random functions, arguments and callers, the exported body under Node gives the AST of our builder. It compiles."""
    path = tmp_path_factory.mktemp("queries")
    folder = exported(path, queries, EVERYTHING)
    known = [named for named in queries.values() if not isinstance(body_of(named, TABLES), NoBody)]
    cases = [(named, argument, caller) for named in known for argument, caller in values]
    answers = run_queries(path / "schema.ts", [case(*each) for each in cases])
    for (named, argument, caller), answer in zip(cases, answers, strict=True):
        try:
            query = named.build(TABLES, argument, caller)
        except ApplicationError:
            continue  # the server answers with an error, and the client's copy does not matter
        assert settled(answer["ast"]) == settled(json.loads(json.dumps(query.ast))), named.name
        assert_singular(answer["format"], query.ones, query.ast["table"])
    if data.draw(st.booleans()):  # tsc takes longer than all the rest
        assert folder.compile() == ""


@pytest.mark.not_fast
def test_keep_connected_tries_again_less_and_less_often_until_it_is_stopped(tmp_path: Path) -> None:
    """It waits twice as long each time, half a minute at most. It begins again after a minute without errors, and does
    nothing in other states."""
    folder = exported(tmp_path)
    output = folder._node("--input-type=module", "--eval", KEEP_CONNECTED, str(tmp_path / "schema.ts"))
    tries, listeners = output.split()
    assert json.loads(tries) == [0.5, 1.5, 3.5, 7.5, 15.5, 31.5, 61.5, 91.5, 500.5, 501.5]
    assert listeners == "0"


@pytest.mark.not_fast
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_written_queries_build_what_their_filters_say(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """The bodies of queries that are written with the app are those of their filters, with arguments and claims as values."""
    path = tmp_path_factory.mktemp("written")
    exported(path)
    caller = data.draw(callers)
    argument = data.draw(
        st.fixed_dictionaries(
            {"customer": texts, "prices": st.lists(numbers, max_size=3)}, optional={"least": st.none() | numbers}
        )
    )
    written = written_queries(DEFINITION)
    answers = run_queries(path / "schema.ts", [case(named, argument, caller) for named in written.values()])
    for named, answer in zip(written.values(), answers, strict=True):
        expected = evaluated(body_of(named, TABLES), Arguments.of(named), argument, caller)
        assert settled(answer["ast"]) == settled(json.loads(json.dumps(expected.ast))), named.name
        assert answer["format"]["singular"] == (named.name == "written.labelled")


def test_a_name_that_leads_through_another_is_refused() -> None:
    """An object cannot be a query as well."""
    written = {"customers.all.old": WRITTEN["written.labelled"]}
    with pytest.raises(InvalidDefinition, match=r"cannot be both 'customers\.all' and 'customers\.all\.old'"):
        typescript_schema(replace(EVERYTHING, queries=written), QUERIES)


def case(named: NamedQuery | WrittenQuery, argument: Any, caller: Caller) -> dict[str, Any]:
    return {"name": named.name, "args": argument, "ctx": {"userID": caller.user_id, "claims": dict(caller.claims)}}


def settled(part: Any) -> Any:
    """An AST whose conditions cannot be simplified further: Zero simplifies once for each `where`, of which a body may
    have another number."""
    if isinstance(part, list):
        return [settled(each) for each in part]
    if not isinstance(part, dict):
        return part
    part = {name: settled(each) for name, each in part.items()}
    while "where" in part and part["where"] != (simplified := _simplified(part["where"])):
        part["where"] = simplified
    return part


def assert_singular(
    format: Ast, ones: frozenset[tuple[str, ...]], table: str, path: tuple[str, ...] = (), is_one: bool = False
) -> None:
    """A client gets one row where `one` was called, or if the relationship is to one, and a list otherwise."""
    assert format["singular"] == (is_one or path in ones)
    for name, inner in format["relationships"].items():
        relationship = SCOPE.relationships[table][name]
        cardinality = relationship.connections[-1].cardinality
        assert_singular(inner, ones, relationship.destination, (*path, name), cardinality == "one")
