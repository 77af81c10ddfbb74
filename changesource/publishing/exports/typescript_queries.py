"""The named queries of an app as the TypeScript that a client needs, for `@rocicorp/zero` 1.9. Pure.

A client runs its own copy of each query over the rows that it has, and sends only the name and the arguments. So the copy is
printed with its whole body where that is known (`queries.bodies`). Where it is not, there is a placeholder, whose argument is
of a type that has no values, so that `tsc` refuses each use of the query until the app has put one of its own in its place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from changesource.errors import InvalidDefinition
from changesource.publishing.exports.typescript_text import (
    WIDTH,
    Arrow,
    Call,
    Chain,
    Conditional,
    Text,
    distinct,
    key,
    string,
    type_name,
)
from changesource.queries.arguments import Arguments, Schema, Step
from changesource.queries.bodies import Body, Built, IfNull, NoBody, Unusable, body_of, shown_path
from changesource.queries.builder import Ast, Condition, Tables
from changesource.queries.registry import NamedQuery, find_path_conflict, path_conflict_message
from changesource.queries.written import WrittenQuery
from changesource.rules.checks import RuleScope
from changesource.tables.definition import AppDefinition, Column, Table

JSON_TYPE: Final = "ReadonlyJSONValue"
_TYPES: Final = ("Condition", "LiteralValue", JSON_TYPE, "QueryDefinition")
_SUBQUERY_PREFIX: Final = "zsubq_"
_OF_EVERY_OBJECT: Final = frozenset(
    ["constructor", "hasOwnProperty", "isPrototypeOf", "propertyIsEnumerable", "toLocaleString", "toString", "valueOf"]
)
_JUNCTION_PREFIX: Final = "zsubq_zhidden_"

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
        tuple(_members_of_type(arguments, arguments.resolved(arguments.schema), ())),
        arguments.may_be_left_out,
        isinstance(named, NamedQuery) and named.takes_caller,
    )
    match body_of(named, Tables(scope)):
        case NoBody(reason):
            return replace(blank, reason=reason)
        case Unusable(reason):
            return replace(blank, reason=reason, is_unusable=True, arguments_type="")
        case body:
            printer = _BodyPrinter(scope, arguments)
            try:
                text = printer.body(body)
            except _NotInTypescript as error:
                return replace(blank, reason=str(error))
            return replace(
                blank,
                body=text,
                uses=frozenset(printer.uses),
                has_context="ctx" in printer.uses,
                claims=frozenset(printer.claims),
            )


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


# Types of arguments


def argument_type(arguments: Arguments, schema: Schema, within: tuple[int, ...] = ()) -> str:
    """The TypeScript of a JSON schema; `ReadonlyJSONValue` for what has no simple type."""
    return " | ".join(
        dict.fromkeys(_one_type(arguments, each, within) for each in arguments.alternatives(schema)).keys()
    )


def _one_type(arguments: Arguments, schema: Schema, within: tuple[int, ...]) -> str:
    if id(schema) in within:  # a model that holds itself
        return JSON_TYPE
    match schema:
        case {"enum": values}:
            return " | ".join(map(_literal, values))
        case {"const": value}:
            return _literal(value)
        case {"type": "string" | "boolean" | "null" | "number" as name}:
            return str(name)
        case {"type": "integer"}:
            return "number"
        case {"type": "array", "items": dict(items)}:
            inner = argument_type(arguments, items, (*within, id(schema)))
            return f"readonly ({inner})[]" if "|" in inner or inner.startswith("readonly ") else f"readonly {inner}[]"
        case {"type": "object", "properties": _}:
            members = list(_members_of_type(arguments, schema, within))
            return f"{{ {'; '.join(members)} }}" if members else "{}"
        case _:
            return JSON_TYPE


def _members_of_type(arguments: Arguments, schema: Schema, within: tuple[int, ...]) -> Iterator[str]:
    required = schema.get("required", ())
    for name, each in schema.get("properties", {}).items():
        type_ = argument_type(arguments, each, (*within, id(schema)))
        yield f"readonly {key(name)}{'' if name in required else '?'}: {type_}"


def _literal(value: Any) -> str:
    # Every JSON value is a JavaScript expression, but for the key __proto__.
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key(name)}: {_literal(each)}' for name, each in value.items())} }}" if value else "{}"
    if isinstance(value, list):
        return f"[{', '.join(map(_literal, value))}]"
    return json.dumps(value, allow_nan=False)


_Kinds = frozenset[Any]
"""What a value may be: string, number, boolean, null, other, or `("array", kinds of members)`."""


def _kinds(arguments: Arguments, schema: Schema, depth: int = 0) -> _Kinds:
    return frozenset(kind for each in arguments.alternatives(schema) for kind in _one_kind(arguments, each, depth))


def _one_kind(arguments: Arguments, schema: Schema, depth: int) -> Iterator[Any]:
    match schema:
        case {"enum": values}:
            yield from map(_kind_of, values)
        case {"const": value}:
            yield _kind_of(value)
        case {"type": "string" | "boolean" | "null" | "number" as name}:
            yield name
        case {"type": "integer"}:
            yield "number"
        case {"type": "array", "items": dict(items)}:
            yield ("array", _kinds(arguments, items, depth + 1) if depth < 3 else frozenset(["other"]))
        case {"type": "object", "properties": _}:
            yield "object"
        case _:
            yield "other"


def _kind_of(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case str():
            return "string"
        case int() | float():
            return "number"
        case _:
            return "other"


# Bodies


class _NotInTypescript(Exception):
    """TypeScript has no words for it. The message is a sentence."""


@dataclass(frozen=True, slots=True)
class _Value:
    """An expression, and what it may be. `shown` is how the function on the server writes it."""

    code: str
    kinds: _Kinds
    may_be_undefined: bool
    shown: str
    is_compound: bool = False

    @property
    def operand(self) -> str:
        """The expression where an operator or a member follows."""
        return f"({self.code})" if self.is_compound else self.code

    @property
    def may_be_null(self) -> bool:
        return "null" in self.kinds or "other" in self.kinds

    @property
    def own_kinds(self) -> _Kinds:
        return self.kinds - {"null"}


class _BodyPrinter:
    def __init__(self, scope: RuleScope, arguments: Arguments) -> None:
        self._scope = scope
        self._arguments = arguments
        self.uses: set[str] = set()
        self.claims: set[str] = set()

    def body(self, body: Body) -> Text:
        match body:
            case IfNull(parameter, null, otherwise):
                value = self._value(*parameter)
                return Conditional(f"{value.operand} == null", self.body(null), self.body(otherwise))
            case Built(ast, ones):
                table = self._scope.tables[ast["table"]]
                name = key(table.name)
                head = f"zql[{name}]" if name.startswith('"') else f"zql{name if name.startswith('[') else f'.{name}'}"
                return self._query(head, ast, ones)

    def _query(self, head: str, ast: Ast, ones: frozenset[tuple[str, ...]], in_exists: str = "") -> Text:
        table = self._scope.tables[ast["table"]]
        calls = [
            *(self._wheres(ast["where"], table) if "where" in ast else ()),
            *(self._related(step, ones) for step in ast.get("related", ())),
            *(Call(".orderBy", [string(name), string(direction)]) for name, direction in ast.get("orderBy", ())),
            *([self._start(ast["start"], table)] if "start" in ast else []),
            *self._limits(ast, is_one=() in ones, in_exists=in_exists),
        ]
        return Chain(head, calls)

    def _limits(self, ast: Ast, *, is_one: bool, in_exists: str) -> Iterator[Call | str]:
        if "limit" not in ast:
            return
        limit = ast["limit"]
        if in_exists == "junction":
            # Only one() is possible there, and the types of Zero have no place for it.
            yield ".one() as never"
        elif is_one:
            yield ".one()"
            if limit != 1:
                yield Call(".limit", [self._count(limit)])
        else:
            yield Call(".limit", [self._count(limit)])

    def _count(self, limit: Any) -> str:
        if not isinstance(limit, dict):
            return str(limit)
        value = self._value(limit["anchor"], tuple(limit["path"]))
        if value.own_kinds != {"number"}:
            raise _NotInTypescript(f"{value.shown} is a limit, and may be something else than a number.")
        return f"{value.operand} as number" if value.may_be_null or value.may_be_undefined else value.code

    def _start(self, start: Ast, table: Table) -> Call:
        row = ", ".join(
            f"{key(name)}: {self._start_value(value, _column(table, name))}" for name, value in start["row"].items()
        )
        object_ = f"{{ {row} }}" if row else "{}"
        if _OF_EVERY_OBJECT & {column.name for column in table.columns}:
            object_ = f"{object_} as never"  # to TypeScript, it has these members even if it does not mention them
        options = [] if start["exclusive"] else ["{ inclusive: true }"]
        return Call(".start", [object_, *options])

    def _start_value(self, value: Any, column: Column) -> str:
        if not isinstance(value, dict):
            return "null as never" if value is None and not column.optional else _literal(value)
        found = self._value(value["anchor"], tuple(value["path"]))
        if found.own_kinds == {column.type} and not found.may_be_undefined and not found.may_be_null:
            return found.code
        self._refuse_other_kinds(found, column.type, column.name)
        code = f"({found.operand} ?? null)" if found.may_be_undefined else found.operand  # JSON has no undefined
        return f"{code} as {column.type}"

    def _related(self, step: Ast, ones: frozenset[tuple[str, ...]]) -> Call:
        subquery = step["subquery"]
        name = subquery["alias"]
        if step.get("hidden"):
            subquery = subquery["related"][0]["subquery"]
        inner = self._query("q", subquery, frozenset(path[1:] for path in ones if path[:1] == (name,)))
        return Call(".related", [string(name), *([] if inner.is_bare else [Arrow("(q)", inner)])])

    # Conditions

    def _wheres(self, condition: Condition, table: Table) -> Iterator[Call]:
        """The calls that give `condition`: one for each of those that have to hold together."""
        parts = condition["conditions"] if condition["type"] == "and" and condition["conditions"] else [condition]
        for part in parts:
            match part:
                case {"type": "simple", "left": {"type": "column", "name": name}} if (
                    _column(table, name).type != "json"
                ):
                    yield Call(".where", self._comparison(part, table))
                case {"type": "correlatedSubquery", "op": "EXISTS"}:
                    yield Call(".whereExists", self._exists(part, is_method=True))
                case _:
                    used: set[str] = set()
                    code = self._condition(part, table, used)
                    names = f"{{ {', '.join(sorted(used))} }}" if used else ""
                    yield Call(".where", [Arrow(f"({names})" if used else "(): Condition", code)])

    def _condition(self, condition: Condition, table: Table, used: set[str]) -> Text:
        match condition:
            case {"type": "and" | "or" as kind, "conditions": parts}:
                used.add(kind)
                return Call(kind, [self._condition(part, table, used) for part in parts])
            case {"type": "correlatedSubquery", "op": "EXISTS"}:
                used.add("exists")
                return Call("exists", self._exists(condition, is_method=False))
            case {"type": "correlatedSubquery"}:
                used.update(("not", "exists"))
                return Call("not", [Call("exists", self._exists(condition, is_method=False))])
            case {"left": {"type": "column", "name": name}} if _column(table, name).type == "json":
                # where and cmp refuse columns of type json, which can be compared with null all the same.
                return Text(
                    f'{{ type: "simple", op: {string(condition["op"])}, left: {{ type: "column", name: {string(name)} }}, '
                    f'right: {{ type: "literal", value: null }} }}'
                )
            case {"left": {"type": "column"}}:
                used.add("cmp")
                return Call("cmp", self._comparison(condition, table))
            case _:
                used.add("cmpLit")
                left, right = self._free_value(condition["left"]), self._free_value(condition["right"])
                return Call("cmpLit", [left, string(condition["op"]), right])

    def _comparison(self, condition: Condition, table: Table) -> list[str]:
        column = _column(table, condition["left"]["name"])
        operator = condition["op"]
        value = self._compared(condition["right"], operator, column)
        return [string(column.name), *([] if operator == "=" else [string(operator)]), value]

    def _compared(self, right: Ast, operator: str, column: Column) -> str:
        takes_null = operator in ("IS", "IS NOT")
        if right["type"] == "literal":
            value = right["value"]
            if isinstance(value, list):
                return f"[{', '.join(self._member(each, column) for each in value)}]"
            # The types of Zero refuse null, which nothing is equal to. It makes null of undefined.
            return "undefined" if value is None and not takes_null else _literal(value)
        found = self._value(right["anchor"], tuple(right["path"]))
        if operator in ("IN", "NOT IN"):
            if found.own_kinds == {("array", frozenset([column.type]))}:
                return f"{found.operand} ?? undefined" if found.may_be_null else found.code
            arrays = [kind for kind in found.own_kinds if isinstance(kind, tuple)]
            if "other" not in found.kinds and not any({column.type, "other"} & kinds for _, kinds in arrays):
                raise _NotInTypescript(f"{found.shown} is never a list of values that {column.name} holds.")
            return f"{found.operand} as readonly {column.type}[] | undefined"
        if found.own_kinds == {column.type}:
            return f"{found.operand} ?? undefined" if found.may_be_null and not takes_null else found.code
        self._refuse_other_kinds(found, column.type, column.name)
        return f"{found.operand} as {column.type} | undefined"

    def _member(self, member: Any, column: Column) -> str:
        if not isinstance(member, dict):
            return _literal(member)
        found = self._value(member["anchor"], tuple(member["path"]))
        if found.kinds == {column.type} and not found.may_be_undefined:
            return found.code
        self._refuse_other_kinds(found, column.type, column.name)
        return f"{found.operand} as {column.type}"

    def _free_value(self, side: Ast) -> str:
        if side["type"] == "literal":
            value = side["value"]
            if isinstance(value, list):
                return f"[{', '.join(self._free_member(each) for each in value)}]"
            return _literal(value)
        found = self._value(side["anchor"], tuple(side["path"]))
        if found.kinds <= {"string", "number", "boolean", "null"}:
            return found.code
        return f"{found.operand} as LiteralValue | undefined"

    def _free_member(self, member: Any) -> str:
        return f"{self._free_value(member)} as never" if isinstance(member, dict) else _literal(member)

    def _exists(self, condition: Condition, *, is_method: bool) -> list[Any]:
        subquery = condition["related"]["subquery"]
        name = subquery["alias"].removeprefix(_SUBQUERY_PREFIX)
        in_exists = "plain"
        where = subquery.get("where", {})
        inner = where["related"]["subquery"] if where.get("type") == "correlatedSubquery" else {}
        if inner.get("alias") == f"{_JUNCTION_PREFIX}{name}":
            in_exists, subquery = "junction", inner
        query = self._query("q", subquery, frozenset(), in_exists)
        flip = [f"{{ flip: {_literal(condition['flip'])} }}"] if "flip" in condition else []
        if query.is_bare:
            return [string(name), *(flip if is_method or not flip else ["(q) => q", *flip])]
        return [string(name), Arrow("(q)", query), *flip]

    # Values that are not known yet

    def _value(self, anchor: str, path: tuple[str, ...]) -> _Value:
        shown = shown_path((anchor, path))
        if anchor == "caller":
            return self._of_caller(path, shown)
        self.uses.add("args")
        value = _Value("args", frozenset(["object"]), self._arguments.may_be_left_out, shown)
        for step in self._arguments.steps(path):
            value = self._member_of(value, step)
        return value

    def _member_of(self, parent: _Value, step: Step) -> _Value:
        is_there = not parent.may_be_undefined and not parent.may_be_null
        if "object" in parent.kinds:
            code = _access(parent.operand, step.key, is_there=is_there)
        else:
            code = _of_unknown(parent.operand, step.key)
        kinds = _kinds(self._arguments, step.schema)
        may_be_undefined = not step.is_required or not is_there
        if step.default is None or not may_be_undefined:
            return _Value(code, kinds, may_be_undefined, parent.shown)
        default = _literal(step.default)
        code = f"{code} === undefined ? {default} : {code}" if "null" in kinds else f"{code} ?? {default}"
        return _Value(code, kinds, False, parent.shown, is_compound=True)

    def _of_caller(self, path: tuple[str, ...], shown: str) -> _Value:
        self.uses.add("ctx")
        if path == ("user_id",):
            return _Value("ctx.userID", frozenset(["string", "null"]), False, shown)
        if len(path) < 2:
            raise _NotInTypescript(f"{shown} is compared as a whole.")
        claim, *inner = path[1:]
        self.claims.add(claim)
        code = _access("ctx.claims", claim)
        for name in inner:
            code = _of_unknown(code, name)
        return _Value(code, frozenset(["other", "null"]), True, shown)

    def _refuse_other_kinds(self, value: _Value, type_: str, column: str) -> None:
        if not {type_, "other"} & value.kinds:
            raise _NotInTypescript(f"{value.shown} is never a {type_}, which {column} holds.")


def _access(code: str, name: str, *, is_there: bool = True) -> str:
    member = key(name)
    if member[0] in '"[':
        return f"{code}{'' if is_there else '?.'}[{string(name)}]"
    return f"{code}{'.' if is_there else '?.'}{member}"


def _of_unknown(code: str, name: str) -> str:
    return _access(f"({code} as {{ readonly {key(name)}?: {JSON_TYPE} }} | null | undefined)", name, is_there=False)


def _column(table: Table, name: str) -> Column:
    return next(column for column in table.columns if column.name == name)
