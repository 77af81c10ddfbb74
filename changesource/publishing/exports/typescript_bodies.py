"""The bodies of named queries in TypeScript: calls of Zero's query builder, `zql`.

Zero's types refuse some of what its builder takes: null in a comparison, columns of type json, `one` in an EXISTS. These are
written in other ways that give the same AST.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from changesource.publishing.exports.typescript_text import Arrow, Call, Chain, Conditional, Text, key, string
from changesource.publishing.exports.typescript_types import JSON_TYPE, Kinds, kinds_of, literal
from changesource.queries.arguments import Arguments, Step
from changesource.queries.bodies import Body, Built, IfNull, shown_path
from changesource.queries.builder import Ast, Condition
from changesource.rules.checks import RuleScope
from changesource.tables.definition import Column, Table

_SUBQUERY_PREFIX: Final = "zsubq_"
_OF_EVERY_OBJECT: Final = frozenset(
    ["constructor", "hasOwnProperty", "isPrototypeOf", "propertyIsEnumerable", "toLocaleString", "toString", "valueOf"]
)
_JUNCTION_PREFIX: Final = "zsubq_zhidden_"


class NotInTypescript(Exception):
    """TypeScript has no words for it. The message is a sentence."""


@dataclass(frozen=True, slots=True)
class _Value:
    """An expression, and what it may be. `shown` is how the function on the server writes it."""

    code: str
    kinds: Kinds
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
    def own_kinds(self) -> Kinds:
        return self.kinds - {"null"}


class BodyPrinter:
    """Prints the body of one query. Afterwards, `uses` has which of `args` and `ctx` it needs, and `claims` the names of the
    caller's claims."""

    def __init__(self, scope: RuleScope, arguments: Arguments) -> None:
        self._scope = scope
        self._arguments = arguments
        self.uses: set[str] = set()
        self.claims: set[str] = set()

    def body(self, body: Body) -> Text:
        """An expression. Raises `NotInTypescript`, and `UnclearArgument` if `body` is not of these arguments."""
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
            raise NotInTypescript(f"{value.shown} is a limit, and may be something else than a number.")
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
            return "null as never" if value is None and not column.optional else literal(value)
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
            return "undefined" if value is None and not takes_null else literal(value)
        found = self._value(right["anchor"], tuple(right["path"]))
        if operator in ("IN", "NOT IN"):
            if found.own_kinds == {("array", frozenset([column.type]))}:
                return f"{found.operand} ?? undefined" if found.may_be_null else found.code
            arrays = [kind for kind in found.own_kinds if isinstance(kind, tuple)]
            if "other" not in found.kinds and not any({column.type, "other"} & kinds for _, kinds in arrays):
                raise NotInTypescript(f"{found.shown} is never a list of values that {column.name} holds.")
            return f"{found.operand} as readonly {column.type}[] | undefined"
        if found.own_kinds == {column.type}:
            return f"{found.operand} ?? undefined" if found.may_be_null and not takes_null else found.code
        self._refuse_other_kinds(found, column.type, column.name)
        return f"{found.operand} as {column.type} | undefined"

    def _member(self, member: Any, column: Column) -> str:
        if not isinstance(member, dict):
            return literal(member)
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
            return literal(value)
        found = self._value(side["anchor"], tuple(side["path"]))
        if found.kinds <= {"string", "number", "boolean", "null"}:
            return found.code
        return f"{found.operand} as LiteralValue | undefined"

    def _free_member(self, member: Any) -> str:
        return f"{self._free_value(member)} as never" if isinstance(member, dict) else literal(member)

    def _exists(self, condition: Condition, *, is_method: bool) -> list[Any]:
        subquery = condition["related"]["subquery"]
        name = subquery["alias"].removeprefix(_SUBQUERY_PREFIX)
        in_exists = "plain"
        where = subquery.get("where", {})
        inner = where["related"]["subquery"] if where.get("type") == "correlatedSubquery" else {}
        if inner.get("alias") == f"{_JUNCTION_PREFIX}{name}":
            in_exists, subquery = "junction", inner
        query = self._query("q", subquery, frozenset(), in_exists)
        flip = [f"{{ flip: {literal(condition['flip'])} }}"] if "flip" in condition else []
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
        kinds = kinds_of(self._arguments, step.schema)
        may_be_undefined = not step.is_required or not is_there
        if step.default is None or not may_be_undefined:
            return _Value(code, kinds, may_be_undefined, parent.shown)
        default = literal(step.default)
        code = f"{code} === undefined ? {default} : {code}" if "null" in kinds else f"{code} ?? {default}"
        return _Value(code, kinds, False, parent.shown, is_compound=True)

    def _of_caller(self, path: tuple[str, ...], shown: str) -> _Value:
        self.uses.add("ctx")
        if path == ("user_id",):
            return _Value("ctx.userID", frozenset(["string", "null"]), False, shown)
        if len(path) < 2:
            raise NotInTypescript(f"{shown} is compared as a whole.")
        claim, *inner = path[1:]
        self.claims.add(claim)
        code = _access("ctx.claims", claim)
        for name in inner:
            code = _of_unknown(code, name)
        return _Value(code, frozenset(["other", "null"]), True, shown)

    def _refuse_other_kinds(self, value: _Value, type_: str, column: str) -> None:
        if not {type_, "other"} & value.kinds:
            raise NotInTypescript(f"{value.shown} is never a {type_}, which {column} holds.")


def _access(code: str, name: str, *, is_there: bool = True) -> str:
    member = key(name)
    if member[0] in '"[':
        return f"{code}{'' if is_there else '?.'}[{string(name)}]"
    return f"{code}{'.' if is_there else '?.'}{member}"


def _of_unknown(code: str, name: str) -> str:
    return _access(f"({code} as {{ readonly {key(name)}?: {JSON_TYPE} }} | null | undefined)", name, is_there=False)


def _column(table: Table, name: str) -> Column:
    return next(column for column in table.columns if column.name == name)
