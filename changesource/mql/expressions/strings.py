"""Operators on text, among them `$hexToBase64Url`, which MongoDB does not have.

MongoDB: src/mongo/db/exec/expression/evaluate_string.cpp. As in MongoDB, only the letters of ASCII have upper and lower case.
"""

from __future__ import annotations

import base64
import string
from collections.abc import Callable
from typing import Any, Final

from bson import ObjectId

from changesource.mql.bson_types import MAX_LONG, MIN_LONG, MISSING, is_nullish, is_number, type_name
from changesource.mql.budget import FREE_CHARACTERS, Budget
from changesource.mql.errors import MqlError
from changesource.mql.expressions.coercions import coerced_text, int_argument, whole_number
from changesource.mql.expressions.compiler import (
    AT_FIRST_NULL,
    BUDGET,
    Document,
    Node,
    Scope,
    Variables,
    apply,
    apply_in_order,
    compile_arguments,
    compile_within,
    constant,
    folded,
    named_arguments,
    operator,
    special,
)

WHITESPACE: Final = "\0 \t\n\v\f\r\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
"""The characters that $trim removes by default (MongoDB: manual/reference/operator/aggregation/trim)."""

MAX_TRIM_BYTES: Final = 4096
"""MongoDB: src/mongo/db/exec/str_trim_utils.h."""

CHARACTERS_TRIED_AT_ONCE: Final = 4
"""Each character of a text is compared with all that $trim removes, so many of them at a time."""


@special("$concat")
def _concat(specification: Any, scope: Scope) -> Node:
    """The first null, missing value or error decides; the arguments after it are not evaluated."""
    nodes = compile_arguments("$concat", specification, scope, 0, None)
    evaluates = [node.evaluate for node in nodes]

    def evaluate(document: Document, variables: Variables) -> str | None:
        texts = []
        length = 0
        for argument in evaluates:
            text = argument(document, variables)
            if text is None or text is MISSING:
                return None
            if type(text) is not str and type_name(text) != "string":
                raise MqlError(f"$concat takes strings, not {type_name(text)}. Use $toString in it.")
            texts.append(text)
            length += len(text)
        if length > FREE_CHARACTERS:
            variables[BUDGET].make_text(length)
        return "".join(texts)

    return folded(evaluate, nodes, frozenset({"string", "null"}), scope)


# Upper and lower case

_UPPER = str.maketrans(string.ascii_lowercase, string.ascii_uppercase)
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


@operator("$toUpper", arguments=1, gives={"string"}, pays=True)
def _to_upper(budget: Budget, value: Any) -> str:
    return _upper(coerced_text("$toUpper", value, budget), budget)


@operator("$toLower", arguments=1, gives={"string"}, pays=True)
def _to_lower(budget: Budget, value: Any) -> str:
    text = coerced_text("$toLower", value, budget)
    budget.make_text(len(text))
    budget.read_text(len(text))
    return text.lower() if text.isascii() else _translated(text, _LOWER, budget)


@operator("$strcasecmp", arguments=2, gives={"int"}, pays=True)
def _strcasecmp(budget: Budget, left: Any, right: Any) -> int:
    first, second = (_upper(coerced_text("$strcasecmp", value, budget), budget) for value in (left, right))
    return (first > second) - (first < second)


def _upper(text: str, budget: Budget) -> str:
    budget.make_text(len(text))
    budget.read_text(len(text))
    return text.upper() if text.isascii() else _translated(text, _UPPER, budget)


def _translated(text: str, table: dict[int, int], budget: Budget) -> str:
    budget.spend_steps(len(text) // 2)  # each character is looked up
    return text.translate(table)


# Trimming


def _register_trim(name: str, strip: Callable[[str, str], str]) -> None:
    def trim(budget: Budget, value: Any, characters: Any = None) -> str | None:
        if is_nullish(value):
            return None
        text = _required_text(name, "input", value)
        if is_nullish(characters):
            return None
        taken_off = _required_characters(name, characters)
        budget.read_text(len(text) * (1 + len(taken_off) // CHARACTERS_TRIED_AT_ONCE))
        return strip(text, taken_off)

    @special(name)
    def _trim(specification: Any, scope: Scope) -> Node:
        arguments = named_arguments(name, specification, ("input",), ("chars",))
        value = compile_within("input", arguments["input"], scope)
        characters = compile_within("chars", arguments["chars"], scope) if "chars" in arguments else _WHITESPACE_NODE
        if characters.is_constant and not is_nullish(characters.value):
            _required_characters(name, characters.value)
        return apply_in_order(trim, [value, characters], AT_FIRST_NULL, frozenset({"string", "null"}), scope, pays=True)


_WHITESPACE_NODE = constant(WHITESPACE)


def _required_characters(name: str, value: Any) -> str:
    characters = _required_text(name, "chars", value)
    if len(_bytes(characters)) > MAX_TRIM_BYTES:
        raise MqlError(f"{name} takes at most {MAX_TRIM_BYTES} bytes of chars.")
    return characters


def _required_text(operator_name: str, argument: str, value: Any) -> str:
    if type_name(value) == "string":
        return str(value)
    raise MqlError(f"{operator_name} takes a string as {argument}, not {type_name(value)}. Use $toString before it.")


_register_trim("$trim", str.strip)
_register_trim("$ltrim", str.lstrip)
_register_trim("$rtrim", str.rstrip)


# Lengths and parts


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


@operator("$strLenCP", arguments=1, gives={"int"})
def _str_len_cp(value: Any) -> int:
    return len(_required_text("$strLenCP", "its argument", value))


@operator("$strLenBytes", arguments=1, gives={"int"}, pays=True)
def _str_len_bytes(budget: Budget, value: Any) -> int:
    text = _required_text("$strLenBytes", "its argument", value)
    budget.read_text(len(text))
    return len(_bytes(text))


@operator("$substrCP", arguments=3, gives={"string"}, pays=True)
def _substr_cp(budget: Budget, value: Any, start: Any, length: Any) -> str:
    text = coerced_text("$substrCP", value, budget)
    first = int_argument("$substrCP", "the start", start)
    number = int_argument("$substrCP", "the length", length)
    budget.make_text(min(number, len(text)))
    return text[first : first + number]


def _substr_bytes(budget: Budget, value: Any, start: Any, length: Any) -> str:
    """A negative length means up to the end. Raises `MqlError` where a character would be cut in two."""
    text = coerced_text("$substrBytes", value, budget)
    budget.make_text(len(text))
    budget.read_text(len(text))
    data = _bytes(text)
    first, count = _cut_number("the start", start), _cut_number("the length", length)
    if first < 0:
        raise MqlError("$substrBytes takes a number from 0 on as the start, not a negative one.")
    end = len(data) if count < 0 else first + count
    if _is_inside_character(data, first) or _is_inside_character(data, end):
        raise MqlError("$substrBytes would cut a character in two. Use $substrCP, which counts characters.")
    return data[first:end].decode("utf-8", "surrogatepass")


for _name in ("$substrBytes", "$substr"):
    operator(_name, arguments=3, gives={"string"}, pays=True)(_substr_bytes)


def _cut_number(argument: str, value: Any) -> int:
    """The number without its fraction."""
    if not is_number(value):
        raise MqlError(f"$substrBytes takes a number as {argument}, not {type_name(value)}.")
    number = whole_number(value)
    if number is not None:
        return number
    try:
        number = int(value.to_decimal() if not isinstance(value, float) else value)
    except (ValueError, OverflowError) as error:
        raise MqlError(f"$substrBytes takes a finite number as {argument}.") from error
    return min(max(number, MIN_LONG), MAX_LONG)


def _is_inside_character(data: bytes, index: int) -> bool:
    return index < len(data) and data[index] & 0xC0 == 0x80


@operator("$indexOfCP", arguments=(2, 4), gives={"int", "null"}, ends_at_null=AT_FIRST_NULL, pays=True)
def _index_of_cp(budget: Budget, value: Any, token: Any = None, start: Any = 0, end: Any = None) -> int | None:
    """As in MongoDB, `end` bounds where the token may begin, not where it ends."""
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
    _pay_for_search(text, wanted, budget)
    index = text.find(wanted, first)
    return index if index < last else -1


@operator("$indexOfBytes", arguments=(2, 4), gives={"int", "null"}, ends_at_null=AT_FIRST_NULL, pays=True)
def _index_of_bytes(budget: Budget, value: Any, token: Any = None, start: Any = 0, end: Any = None) -> int | None:
    if is_nullish(value):
        return None
    text = _required_text("$indexOfBytes", "the first argument", value)
    token = _required_text("$indexOfBytes", "the second argument", token)
    _pay_for_search(text, token, budget)
    data, wanted = _bytes(text), _bytes(token)
    first = int_argument("$indexOfBytes", "the start", start)
    last = len(data) if end is None else min(len(data), int_argument("$indexOfBytes", "the end", end))
    return data.find(wanted, first, last) if first <= last else -1


def _pay_for_search(text: str, wanted: str, budget: Budget) -> None:
    """Python compares up to about a hundred characters of a short text at each place, and finds a longer one in linear time
    (CPython: Objects/stringlib/fastsearch.h)."""
    budget.read_text(len(text) * (1 + min(len(wanted), LONG_WANTED) // CHARACTERS_COMPARED_AT_ONCE) + len(wanted))


LONG_WANTED: Final = 128
CHARACTERS_COMPARED_AT_ONCE: Final = 8


# Splitting and replacing


@operator("$split", arguments=2, gives={"array", "null"}, pays=True)
def _split(budget: Budget, value: Any, separator: Any) -> list[str] | None:
    if is_nullish(value) or is_nullish(separator):
        return None
    text = _required_text("$split", "the first argument", value)
    between = _required_text("$split", "the second argument", separator)
    if not between:
        raise MqlError("$split takes a separator of one character or more.")
    _pay_for_search(text, between, budget)
    budget.make_elements(1 + text.count(between))
    budget.make_text(len(text))
    return text.split(between)


def _register_replace(name: str, count: int) -> None:
    def replace(budget: Budget, value: Any, find: Any, replacement: Any) -> str | None:
        arguments = {"input": value, "find": find, "replacement": replacement}
        texts = [
            None if is_nullish(item) else _required_text(name, argument, item) for argument, item in arguments.items()
        ]
        text, wanted, instead = texts
        if text is None or wanted is None or instead is None:
            return None
        _pay_for_search(text, wanted, budget)
        found = text.count(wanted) if count < 0 else count
        budget.make_text(len(text) + max(0, len(instead) - len(wanted)) * found)
        return text.replace(wanted, instead, count)

    @special(name)
    def _replace(specification: Any, scope: Scope) -> Node:
        names = ("input", "find", "replacement")
        arguments = named_arguments(name, specification, names)
        nodes = [compile_within(argument, arguments[argument], scope) for argument in names]
        return apply(replace, nodes, frozenset({"string", "null"}), scope, pays=True)


_register_replace("$replaceOne", 1)
_register_replace("$replaceAll", -1)


# Not in MongoDB


@operator("$hexToBase64Url", arguments=1, gives={"string", "missing"}, pays=True)
def _hex_to_base64_url(budget: Budget, value: Any) -> Any:
    """The bytes of an ObjectId, or of hexadecimal text with or without `0x`, in Base64url without padding; missing for any
    other value."""
    if isinstance(value, str):
        budget.make_text(len(value))
        budget.read_text(len(value) * len(string.hexdigits) // CHARACTERS_TRIED_AT_ONCE)
        value = value.removeprefix("0x")
    if isinstance(value, ObjectId):
        data = value.binary
    elif isinstance(value, str) and len(value) % 2 == 0 and not value.strip(string.hexdigits):
        data = bytes.fromhex(value)
    else:
        return MISSING
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
