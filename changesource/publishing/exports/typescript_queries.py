"""The named queries of an app as the TypeScript that a client needs, for `@rocicorp/zero` 1.9. Pure.

A client runs its own copy of each query over the rows that it has, and sends only the name and the arguments. So the copy is
printed with its whole body where that is known (`queries.bodies`). Where it is not, there is a placeholder, whose argument is
of a type that has no values, so that `tsc` refuses each use of the query until the app has put one of its own in its place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from changesource.errors import InvalidDefinition
from changesource.publishing.exports.typescript_bodies import BodyPrinter, NotInTypescript
from changesource.publishing.exports.typescript_text import (
    WIDTH,
    Arrow,
    Call,
    Text,
    distinct,
    key,
    string,
    type_name,
)
from changesource.publishing.exports.typescript_types import JSON_TYPE, argument_type, members_of_type
from changesource.queries.arguments import Arguments
from changesource.queries.bodies import Body, NoBody, Unusable, body_of
from changesource.queries.builder import Tables
from changesource.queries.registry import NamedQuery, find_path_conflict, path_conflict_message
from changesource.queries.written import WrittenQuery
from changesource.rules.checks import RuleScope
from changesource.tables.definition import AppDefinition

_TYPES: Final = ("Condition", "LiteralValue", JSON_TYPE, "QueryDefinition")

KEEP_CONNECTED: Final = """\
// A client that an error has stopped does not connect again by itself. This connects it, after half a second at first and
// after half a minute at most, until the returned function is called. It leaves the state `needs-auth` to the app.
export function keepConnected(zero: { readonly connection: Connection }): () => void {
  let delay = 0;
  let failed = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const look = ({ name }: ConnectionState) => {
    clearTimeout(timer);
    if (name !== "error") return;
    delay = Date.now() - failed > 60_000 + delay ? 500 : Math.min(delay * 2, 30_000);
    failed = Date.now();
    timer = setTimeout(() => void zero.connection.connect(), delay * (0.5 + Math.random() / 2));
  };
  const unsubscribe = zero.connection.state.subscribe(look);
  look(zero.connection.state.current);
  return () => {
    unsubscribe();
    clearTimeout(timer);
  };
}
"""

_GIVEN: Final = """\
// What the function of a query is given. A query that does not look at the context runs in clients with any context.
// eslint-disable-next-line @typescript-eslint/no-explicit-any
type Given<Args = undefined, C = any> = { args: Args; ctx: C };
"""

_UNFILLED: Final = """\
// The argument of a query whose body is not known here. No value has this type, so tsc refuses to use such a query until the
// app has put its own in the place, which has to find the same rows as the function on the server:
//
//   import { queries as generated, type ToFill } from "./schema.ts";
//   export const queries = defineQueries(generated, { … } satisfies ToFill);
//
// With `satisfies ToFill`, tsc also refuses to leave one out, and arguments of another type.
type Unfilled<Name extends string> = string & { readonly [K in `The query ${Name} has no body`]: never };

const unfilled = <Name extends string>(name: Name) =>
  defineQuery((_: Given<Unfilled<Name>>): never => {
    throw new Error(`The query ${name} has no body. Fill it in with defineQueries.`);
  });
"""


@dataclass(frozen=True, slots=True)
class TypescriptQueries:
    """Parts of a module: what it imports from `@rocicorp/zero`, types among it as `type …`, and its text."""

    imports: frozenset[str]
    text: str


def typescript_queries(
    definition: AppDefinition, queries: Mapping[str, NamedQuery | WrittenQuery]
) -> TypescriptQueries:
    """Types for the arguments of `queries` (by name), the type of the context if one of them looks at it, `queries` itself
    and `keepConnected`. The module has to have `schema`, `Schema` and `zql` of `definition`.

    Raises `InvalidDefinition` if a name leads through another one, as `a.b` does through `a`."""
    if (conflict := find_path_conflict(queries)) is not None:
        raise InvalidDefinition(f"queries: {path_conflict_message(*conflict)}")
    scope = RuleScope(definition)
    printed = [_printed(named, scope) for named in queries.values()]
    names = distinct(
        (each.name for each in printed if each.arguments_type), lambda name: type_name(name, ending="Args")
    )
    unfilled = [each for each in printed if each.reason and not each.is_unusable]
    parts = [
        *(["// The arguments of queries, as clients send them."] if names else []),
        *(_type_alias(names[each.name], each) for each in printed if each.arguments_type),
        *([""] if names else []),
        *([_context(printed), ""] if any(each.has_context and not each.is_unusable for each in printed) else []),
        *([_GIVEN] if unfilled or any(each.body for each in printed) else []),
        *([_UNFILLED] if unfilled else []),
        *_queries(printed, names),
        "",
        *([_to_fill(unfilled, names), ""] if unfilled else []),
        KEEP_CONNECTED,
    ]
    text = "\n".join(parts)
    imports = {"defineQueriesWithType", "type Connection", "type ConnectionState"}
    imports |= {"defineQuery"} if "defineQuery(" in text else set()
    imports |= {f"type {name}" for name in _TYPES if re.search(rf"\b{name}\b", text)}
    return TypescriptQueries(frozenset(imports), text)


@dataclass(frozen=True, slots=True)
class _Printed:
    """One query. `arguments_members` are the members of the type of its arguments, if that is the type of an object. `reason`
    says why it has no `body`."""

    name: str
    arguments_type: str
    arguments_members: tuple[str, ...]
    arguments_may_be_left_out: bool
    has_context: bool
    claims: frozenset[str] = frozenset()
    body: Text | None = None
    uses: frozenset[str] = frozenset()
    reason: str = ""
    is_unusable: bool = False


def _printed(named: NamedQuery | WrittenQuery, scope: RuleScope) -> _Printed:
    arguments = Arguments.of(named)
    blank = _Printed(
        named.name,
        argument_type(arguments, arguments.schema) if arguments.are_taken else "",
        tuple(members_of_type(arguments, arguments.resolved(arguments.schema), ())),
        arguments.may_be_left_out,
        isinstance(named, NamedQuery) and named.takes_caller,
    )
    match body_of(named, Tables(scope)):
        case NoBody(reason, uncompared):
            return replace(blank, reason=_why_never_typed(scope, arguments, uncompared) or reason)
        case Unusable(reason):
            return replace(blank, reason=reason, is_unusable=True, arguments_type="")
        case body:
            printer = BodyPrinter(scope, arguments)
            try:
                text = printer.body(body)
            except NotInTypescript as error:
                return replace(blank, reason=str(error))
            return replace(
                blank,
                body=text,
                uses=frozenset(printer.uses),
                has_context="ctx" in printer.uses,
                claims=frozenset(printer.claims),
            )


def _why_never_typed(scope: RuleScope, arguments: Arguments, body: Body | None) -> str:
    """Why TypeScript would refuse a body; empty if it would not. That is more telling than that no example was found."""
    try:
        if body is not None:
            BodyPrinter(scope, arguments).body(body)
    except NotInTypescript as error:
        return str(error)
    return ""


def _type_alias(name: str, each: _Printed) -> str:
    line = f"export type {name} = {each.arguments_type};"
    if len(line) <= WIDTH or not each.arguments_members:
        return line
    return "\n".join([f"export type {name} = {{", *(f"  {member};" for member in each.arguments_members), "};"])


# The object of queries


def _queries(printed: Sequence[_Printed], names: Mapping[str, str]) -> Iterator[str]:
    yield "export const queries = defineQueriesWithType<Schema>()({"
    yield from _members(_tree(printed), names, depth=1)
    yield "});"


_Tree = dict[str, Any]
"""Part of a name → the rest of the tree, or what is there."""


def _tree(printed: Iterable[_Printed]) -> _Tree:
    root: _Tree = {}
    for each in printed:
        *folders, last = each.name.split(".")
        place = root
        for folder in folders:
            place = place.setdefault(folder, {})
        place[last] = each
    return root


def _members(tree: _Tree, names: Mapping[str, str], depth: int) -> Iterator[str]:
    indent = "  " * depth
    for name, member in tree.items():
        if isinstance(member, dict):
            yield f"{indent}{key(name)}: {{"
            yield from _members(member, names, depth + 1)
            yield f"{indent}}},"
        elif member.is_unusable:
            yield f"{indent}// {member.name} is left out. It does not work with this schema: {_comment(member.reason)}"
        elif member.body is None:
            yield f"{indent}// {member.name} has no body. Its function cannot be followed: {_comment(member.reason)}"
            yield f"{indent}{key(name)}: unfilled({string(member.name)}),"
        else:
            definition = Call("defineQuery", [Arrow(_parameters(member, names), member.body)])
            yield f"{indent}{key(name)}: {definition.text(len(indent), len(key(name)) + 3)},"


def _parameters(member: _Printed, names: Mapping[str, str]) -> str:
    used = [name for name in ("args", "ctx") if name in member.uses]
    pattern = f"{{ {', '.join(used)} }}" if used else "_"
    return f"({pattern}: {_given(member, names)})"


def _given(member: _Printed, names: Mapping[str, str]) -> str:
    arguments = names.get(member.name, "undefined")
    if member.arguments_may_be_left_out:
        arguments = f"{arguments} | undefined"
    if "ctx" in member.uses:
        return f"Given<{arguments}, Context>"
    return "Given" if arguments == "undefined" else f"Given<{arguments}>"


def _to_fill(unfilled: Sequence[_Printed], names: Mapping[str, str]) -> str:
    def lines(tree: _Tree, depth: int) -> Iterator[str]:
        for name, member in tree.items():
            if isinstance(member, dict):
                yield f"{'  ' * depth}readonly {key(name)}: {{"
                yield from lines(member, depth + 1)
                yield f"{'  ' * depth}}};"
            else:
                arguments = names.get(member.name, "undefined")
                if member.arguments_may_be_left_out:
                    arguments = f"{arguments} | undefined"
                yield "  " * depth + "// eslint-disable-next-line @typescript-eslint/no-explicit-any"
                yield f"{'  ' * depth}readonly {key(name)}: QueryDefinition<any, {arguments}, any, any, any>;"

    return "\n".join(["export type ToFill = {", *lines(_tree(unfilled), 1), "};"])


def _context(printed: Sequence[_Printed]) -> str:
    claims = sorted({claim for each in printed for claim in each.claims})
    members = [
        *(f"readonly {key(claim)}?: {JSON_TYPE};" for claim in claims),
        f"readonly [claim: string]: {JSON_TYPE} | undefined;",
    ]
    return "\n".join(
        [
            "// What queries know of the user. Give it to Zero as `context`. The server decides by what it knows itself.",
            "// `userID` is null for a visitor who has not logged in.",
            "export type Context = {",
            "  readonly userID: string | null;",
            "  readonly claims: {",
            *(f"    {member}" for member in members),
            "  };",
            "};",
        ]
    )


def _comment(text: str) -> str:
    return " ".join(text.split())
