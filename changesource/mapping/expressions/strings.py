"""Operators on text, and `$hexToBase64Url`, which is not MongoDB's.

MongoDB: src/mongo/db/exec/expression/evaluate_string.cpp. Upper and lower case are those of ASCII, as in MongoDB.
"""

from __future__ import annotations

import base64
import re
import string
from collections.abc import Callable
from typing import Any, Final

from bson import ObjectId

from changesource.mapping.bson_types import MAX_LONG, MIN_LONG, MISSING, is_nullish, is_number, type_name
from changesource.mapping.expressions.coercions import coerced_text, int_argument, whole_number
from changesource.mapping.expressions.compiler import (
    AT_FIRST_NULL,
    Document,
    Node,
    Scope,
    Variables,
    apply,
    apply_in_order,
    compile_arguments,
    compile_within,
    constant,
    named_arguments,
    operator,
    special,
)
from changesource.mapping.mapping_error import MappingError

WHITESPACE: Final = "\0 \t\n\v\f\r\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
"""What $trim takes off when it is given no characters (MongoDB: manual/reference/operator/aggregation/trim)."""

MAX_TRIM_BYTES: Final = 4096
"""MongoDB: src/mongo/db/exec/str_trim_utils.h."""


@special("$concat")
def _concat(specification: Any, scope: Scope) -> Node:
    """The first null, missing value or error counts; what comes after it is not evaluated."""
    nodes = compile_arguments("$concat", specification, scope, 0, None)
    evaluates = [node.evaluate for node in nodes]

    def evaluate(document: Document, variables: Variables) -> str | None:
        texts = []
        for argument in evaluates:
            text = argument(document, variables)
            if text is None or text is MISSING:
                return None
            if type(text) is not str and type_name(text) != "string":
                raise MappingError(f"$concat takes strings, not {type_name(text)}. Use $toString in it.")
            texts.append(text)
        return "".join(texts)

    if all(node.is_constant for node in nodes):
        return constant(evaluate({}, {}))
    return Node(evaluate, frozenset({"string", "null"}))


# Upper and lower case

_UPPER = str.maketrans(string.ascii_lowercase, string.ascii_uppercase)
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


@operator("$toUpper", arguments=1, gives={"string"})
def _to_upper(value: Any) -> str:
    return _upper(coerced_text("$toUpper", value))


@operator("$toLower", arguments=1, gives={"string"})
def _to_lower(value: Any) -> str:
    text = coerced_text("$toLower", value)
    return text.lower() if text.isascii() else text.translate(_LOWER)


@operator("$strcasecmp", arguments=2, gives={"int"})
def _strcasecmp(left: Any, right: Any) -> int:
    first, second = (_upper(coerced_text("$strcasecmp", value)) for value in (left, right))
    return (first > second) - (first < second)


def _upper(text: str) -> str:
    return text.upper() if text.isascii() else text.translate(_UPPER)


# Trimming


def _register_trim(name: str, strip: Callable[[str, str], str]) -> None:
    def trim(value: Any, characters: Any = None) -> str | None:
        if is_nullish(value):
            return None
        text = _required_text(name, "input", value)
        if is_nullish(characters):
            return None
        return strip(text, _required_characters(name, characters))

    @special(name)
    def _trim(specification: Any, scope: Scope) -> Node:
        arguments = named_arguments(name, specification, ("input",), ("chars",))
        value = compile_within("input", arguments["input"], scope)
        characters = compile_within("chars", arguments["chars"], scope) if "chars" in arguments else _WHITESPACE_NODE
        if characters.is_constant and not is_nullish(characters.value):
            _required_characters(name, characters.value)
        return apply_in_order(trim, [value, characters], AT_FIRST_NULL, frozenset({"string", "null"}))


_WHITESPACE_NODE = constant(WHITESPACE)


def _required_characters(name: str, value: Any) -> str:
    characters = _required_text(name, "chars", value)
    if len(_bytes(characters)) > MAX_TRIM_BYTES:
        raise MappingError(f"{name} takes at most {MAX_TRIM_BYTES} bytes of chars.")
    return characters


def _required_text(operator_name: str, argument: str, value: Any) -> str:
    if type_name(value) == "string":
        return str(value)
    raise MappingError(
        f"{operator_name} takes a string as {argument}, not {type_name(value)}. Use $toString before it."
    )


_register_trim("$trim", str.strip)
_register_trim("$ltrim", str.lstrip)
_register_trim("$rtrim", str.rstrip)


# Lengths and parts


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


@operator("$strLenCP", arguments=1, gives={"int"})
def _str_len_cp(value: Any) -> int:
    return len(_required_text("$strLenCP", "its argument", value))


@operator("$strLenBytes", arguments=1, gives={"int"})
def _str_len_bytes(value: Any) -> int:
    return len(_bytes(_required_text("$strLenBytes", "its argument", value)))


@operator("$substrCP", arguments=3, gives={"string"})
def _substr_cp(value: Any, start: Any, length: Any) -> str:
    text = coerced_text("$substrCP", value)
    first = int_argument("$substrCP", "the start", start)
    return text[first : first + int_argument("$substrCP", "the length", length)]


def _substr_bytes(value: Any, start: Any, length: Any) -> str:
    """A negative length means: to the end. Raises `MappingError` where a character would be cut in two."""
    data = _bytes(coerced_text("$substrBytes", value))
    first, count = _cut_number("the start", start), _cut_number("the length", length)
    if first < 0:
        raise MappingError("$substrBytes takes a number from 0 on as the start, not a negative one.")
    end = len(data) if count < 0 else first + count
    if _is_inside_character(data, first) or _is_inside_character(data, end):
        raise MappingError("$substrBytes would cut a character in two. Use $substrCP, which counts characters.")
    return data[first:end].decode("utf-8", "surrogatepass")


for _name in ("$substrBytes", "$substr"):
    operator(_name, arguments=3, gives={"string"})(_substr_bytes)


def _cut_number(argument: str, value: Any) -> int:
    """Fractions are cut off."""
    if not is_number(value):
        raise MappingError(f"$substrBytes takes a number as {argument}, not {type_name(value)}.")
    number = whole_number(value)
    if number is not None:
        return number
    try:
        number = int(value.to_decimal() if not isinstance(value, float) else value)
    except (ValueError, OverflowError) as error:
        raise MappingError(f"$substrBytes takes a finite number as {argument}.") from error
    return min(max(number, MIN_LONG), MAX_LONG)


def _is_inside_character(data: bytes, index: int) -> bool:
    return index < len(data) and data[index] & 0xC0 == 0x80


@operator("$indexOfCP", arguments=(2, 4), gives={"int", "null"}, ends_at_null=AT_FIRST_NULL)
def _index_of_cp(value: Any, token: Any = None, start: Any = 0, end: Any = None) -> int | None:
    """MongoDB's `end` bounds where the token may begin, not where it ends."""
    if is_nullish(value):
        return None
    text = _required_text("$indexOfCP", "the first argument", value)
    wanted = _required_text("$indexOfCP", "the second argument", token)
    first = int_argument("$indexOfCP", "the start", start)
    last = len(text) if end is None else min(len(text), int_argument("$indexOfCP", "the end", end))
    if last < first:
        return -1
    if not text and not wanted:
        return 0
    index = text.find(wanted, first)
    return index if index < last else -1


@operator("$indexOfBytes", arguments=(2, 4), gives={"int", "null"}, ends_at_null=AT_FIRST_NULL)
def _index_of_bytes(value: Any, token: Any = None, start: Any = 0, end: Any = None) -> int | None:
    if is_nullish(value):
        return None
    data = _bytes(_required_text("$indexOfBytes", "the first argument", value))
    wanted = _bytes(_required_text("$indexOfBytes", "the second argument", token))
    first = int_argument("$indexOfBytes", "the start", start)
    last = len(data) if end is None else min(len(data), int_argument("$indexOfBytes", "the end", end))
    return data.find(wanted, first, last) if first <= last else -1


# Splitting and replacing


@operator("$split", arguments=2, gives={"array", "null"})
def _split(value: Any, separator: Any) -> list[str] | None:
    if is_nullish(value) or is_nullish(separator):
        return None
    text = _required_text("$split", "the first argument", value)
    between = _required_text("$split", "the second argument", separator)
    if not between:
        raise MappingError("$split takes a separator of one character or more.")
    return text.split(between)


def _register_replace(name: str, count: int) -> None:
    def replace(value: Any, find: Any, replacement: Any) -> str | None:
        arguments = {"input": value, "find": find, "replacement": replacement}
        texts = [
            None if is_nullish(item) else _required_text(name, argument, item) for argument, item in arguments.items()
        ]
        text, wanted, instead = texts
        if text is None or wanted is None or instead is None:
            return None
        return text.replace(wanted, instead, count)

    @special(name)
    def _replace(specification: Any, scope: Scope) -> Node:
        names = ("input", "find", "replacement")
        arguments = named_arguments(name, specification, names)
        nodes = [compile_within(argument, arguments[argument], scope) for argument in names]
        return apply(replace, nodes, frozenset({"string", "null"}))


_register_replace("$replaceOne", 1)
_register_replace("$replaceAll", -1)


# Our own


@operator("$hexToBase64Url", arguments=1, gives={"string", "missing"})
def _hex_to_base64_url(value: Any) -> Any:
    """Base64url without padding of the bytes that hexadecimal text, with or without `0x`, or an ObjectId stands for;
    missing for all else."""
    if isinstance(value, ObjectId):
        data = value.binary
    elif isinstance(value, str) and (found := _HEXADECIMAL.fullmatch(value)):
        data = bytes.fromhex(found["digits"])
    else:
        return MISSING
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


_HEXADECIMAL = re.compile(r"(?:0x)?(?P<digits>(?:[0-9a-fA-F]{2})*)", re.ASCII)
