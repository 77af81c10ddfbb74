"""Words, keys and calls in TypeScript."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, count
from typing import Any, Final

PLAIN_KEY = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")
"""Keys of objects that need no quotes. Reserved words may be keys."""

INDENT: Final = "  "
WIDTH: Final = 110
"""A call that would be longer than this gets a line for each of its arguments."""


def key(name: str) -> str:
    """`name` as the key of a member of an object."""
    if name == "__proto__":
        return '["__proto__"]'  # without brackets, it would set the prototype of the object
    return name if PLAIN_KEY.fullmatch(name) else string(name)


def string(text: str) -> str:
    # Every JSON string is a JavaScript string; plain ASCII survives any encoding of the file.
    return json.dumps(text)


def distinct(names: Iterable[str], spell: Callable[[str], str]) -> dict[str, str]:
    """Name → its identifier in the module. A number tells apart those that would be the same."""
    identifiers: dict[str, str] = {}
    for name in names:
        spelled = spell(name)
        candidates = chain([spelled], (f"{spelled}{number}" for number in count(2)))
        identifiers[name] = next(each for each in candidates if each not in identifiers.values())
    return identifiers


def type_name(name: str, *, ending: str) -> str:
    return identifier(camel_case(name) + ending)


def camel_case(name: str) -> str:
    return "".join(word[:1].upper() + word[1:] for word in re.findall(r"[A-Za-z0-9]+", name))


def identifier(word: str) -> str:
    """`word`, with an underscore in front if it would begin with a digit, or if there is nothing
    before its ending."""
    return word if word[0].isalpha() and word not in ("Table", "Row", "Args") else f"_{word}"


class Text:
    """A piece of code, which may stand on one line or on several."""

    def __init__(self, *parts: Text | str) -> None:
        self._parts = parts

    @property
    def is_bare(self) -> bool:
        """It is a name without calls."""
        return False

    def flat(self) -> str:
        """It on one line."""
        return "".join(map(_flat, self._parts))

    def text(self, indent: int, before: int = 0) -> str:
        """It on one line, if that ends before `WIDTH`, or on several, which have `indent` spaces at least. `before` is how
        much stands in front of it on its first line."""
        flat = self.flat()
        return flat if indent + before + len(flat) <= WIDTH else self._long(indent)

    def _long(self, indent: int) -> str:
        return "".join(part if isinstance(part, str) else part.text(indent) for part in self._parts)


class Call(Text):
    """`name(argument, …)`."""

    def __init__(self, name: str, arguments: Sequence[Text | str]) -> None:
        self._name = name
        self._arguments = arguments

    def flat(self) -> str:
        return f"{self._name}({', '.join(map(_flat, self._arguments))})"

    def _long(self, indent: int) -> str:
        if len(self._arguments) == 1 and isinstance(self._arguments[0], Arrow):
            return f"{self._name}({self._arguments[0].text(indent, WIDTH)},\n{' ' * indent})"
        inner = indent + len(INDENT)
        lines = [f"{' ' * inner}{each if isinstance(each, str) else each.text(inner)},\n" for each in self._arguments]
        return f"{self._name}(\n{''.join(lines)}{' ' * indent})"


class Arrow(Text):
    """`parameters => body`."""

    def __init__(self, parameters: str, body: Text | str) -> None:
        self._parameters = parameters
        self._body = body

    def _flat_body(self) -> str:
        flat = _flat(self._body)
        return f"({flat})" if flat.startswith("{") else flat

    def flat(self) -> str:
        return f"{self._parameters} => {self._flat_body()}"

    def _long(self, indent: int) -> str:
        if not isinstance(self._body, Text) or self._flat_body().startswith("("):
            return self.flat()
        inner = indent + len(INDENT)
        return f"{self._parameters} =>\n{' ' * inner}{self._body.text(inner)}"


class Conditional(Text):
    """`condition ? one : other`."""

    def __init__(self, condition: str, one: Text, other: Text) -> None:
        super().__init__(condition, " ? ", one, " : ", other)
        self._condition = condition
        self._ways = (("?", one), (":", other))

    def _long(self, indent: int) -> str:
        inner = indent + len(INDENT)
        return self._condition + "".join(f"\n{' ' * inner}{sign} {way.text(inner, 2)}" for sign, way in self._ways)


class Chain(Text):
    """`head.call(…).call(…)`."""

    def __init__(self, head: str, calls: Sequence[Call | str]) -> None:
        self._head = head
        self._calls = calls

    @property
    def is_bare(self) -> bool:
        return not self._calls

    def flat(self) -> str:
        return self._head + "".join(map(_flat, self._calls))

    def _long(self, indent: int) -> str:
        inner = indent + len(INDENT)
        return self._head + "".join(
            f"\n{' ' * inner}{each if isinstance(each, str) else each.text(inner)}" for each in self._calls
        )


def _flat(part: Any) -> str:
    return part if isinstance(part, str) else part.flat()
