"""The types of arguments in TypeScript, from JSON schemas."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from changesource.publishing.exports.typescript_text import key
from changesource.queries.arguments import Arguments, Schema

JSON_TYPE: Final = "ReadonlyJSONValue"
"""Zero's type for any JSON value."""


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
            return " | ".join(map(literal, values))
        case {"const": value}:
            return literal(value)
        case {"type": "string" | "boolean" | "null" | "number" as name}:
            return str(name)
        case {"type": "integer"}:
            return "number"
        case {"type": "array", "items": dict(items)}:
            inner = argument_type(arguments, items, (*within, id(schema)))
            return f"readonly ({inner})[]" if "|" in inner or inner.startswith("readonly ") else f"readonly {inner}[]"
        case {"type": "object", "properties": _}:
            members = list(members_of_type(arguments, schema, within))
            return f"{{ {'; '.join(members)} }}" if members else "{}"
        case _:
            return JSON_TYPE


def members_of_type(arguments: Arguments, schema: Schema, within: tuple[int, ...]) -> Iterator[str]:
    required = schema.get("required", ())
    for name, each in schema.get("properties", {}).items():
        type_ = argument_type(arguments, each, (*within, id(schema)))
        yield f"readonly {key(name)}{'' if name in required else '?'}: {type_}"


def literal(value: Any) -> str:
    # Every JSON value is a JavaScript expression, but for the key __proto__.
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key(name)}: {literal(each)}' for name, each in value.items())} }}" if value else "{}"
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    return json.dumps(value, allow_nan=False)


Kinds = frozenset[Any]
"""What a value may be: string, number, boolean, null, other, or `("array", kinds of members)`."""


def kinds_of(arguments: Arguments, schema: Schema, depth: int = 0) -> Kinds:
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
            yield ("array", kinds_of(arguments, items, depth + 1) if depth < 3 else frozenset(["other"]))
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
