"""Regular expressions as mongod runs them: PCRE2 on UTF-8, without Unicode properties for \\w, \\d, \\s and \\b."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

import pcre2  # type: ignore[import-untyped]
from bson import Regex

# The package's own functions switch on PCRE2_ALT_BSUX, with which \x{e9} and \u mean other things than in MongoDB, and
# make a Match object that nobody needs: its inner module lets one do without both. It is pinned for that reason.
from pcre2 import _cy

from changesource.mapping.mapping_error import MappingError

Search = Callable[[str], bool]

OPTION_BITS: Final[Mapping[str, int]] = {"i": re.I, "m": re.M, "s": re.S, "x": re.X, "u": re.U}
"""MongoDB's options and their bits in `bson.Regex`. Without effect: u, as all strings are UTF-8."""

MAX_PATTERN_BYTES = 32764
"""mongod: RegexMatchExpression::kMaxPatternSize."""

_PCRE2_OPTIONS: Final = (
    (re.I, _cy.CompileOption.CASELESS),
    (re.M, _cy.CompileOption.MULTILINE),
    (re.S, _cy.CompileOption.DOTALL),
    (re.X, _cy.CompileOption.EXTENDED),
)
_PCRE2_ALT_BSUX = 0x00000002
_NOT_IN_MONGODB = int(_cy.CompileOption.UCP) | _PCRE2_ALT_BSUX
_PCRE2_ERROR_JIT_STACKLIMIT = -46
_MATCH_CONTEXT = _cy.create_match_context()

_LONE_SURROGATES = re.compile("[\ud800-\udfff]")


def regex_of(value: Regex[Any] | re.Pattern[Any]) -> Regex[str]:
    """A regular expression with text for its pattern. Raises `MappingError` for one that mongod does not take."""
    regex = value if isinstance(value, Regex) else Regex.from_native(value)
    pattern = regex.pattern
    if isinstance(pattern, bytes):
        try:
            pattern = pattern.decode()
        except UnicodeDecodeError as error:
            raise MappingError("The pattern of the regular expression is not UTF-8.") from error
    if regex.flags & ~sum(OPTION_BITS.values()):
        raise MappingError("The regular expression has an option that MongoDB has not. It takes i, m, s, x and u.")
    checked = Regex(pattern, regex.flags)
    compile_regex(checked)
    return checked


def regex_with_options(pattern: str, options: str) -> Regex[str]:
    """As `regex_of`, for MongoDB's letters of options."""
    unknown = set(options) - OPTION_BITS.keys()
    if unknown:
        raise MappingError(f"$options takes the letters i, m, s, x and u, not {''.join(sorted(unknown))!r}.")
    return regex_of(Regex(pattern, options))


def compile_regex(regex: Regex[str]) -> Search:
    """Whether the pattern is found in a string. Raises `MappingError`, then and for each string, with what to do."""
    options = sum(int(option) for bit, option in _PCRE2_OPTIONS if regex.flags & bit)
    code = _compile(regex.pattern, options)
    with suppress(pcre2.LibraryError):  # a few patterns have no machine code, and are interpreted
        _cy.jit_compile(code)
    match = _cy.match

    def search(text: str) -> bool:
        try:
            return match(code, text, len(text), 0, _MATCH_CONTEXT, 0)[0] is not None
        except pcre2.LibraryError as error:
            return _search_slowly(regex, options, text, error)
        except UnicodeEncodeError:  # not from MongoDB: PyMongo decodes what is no UTF-8 to U+FFFD
            return search(_LONE_SURROGATES.sub("\N{REPLACEMENT CHARACTER}", text))

    return search


def _compile(pattern: str, options: int) -> Any:
    if "\0" in pattern:
        raise MappingError("A pattern cannot hold U+0000. Write \\x00 for it.")
    try:
        if len(pattern.encode()) > MAX_PATTERN_BYTES:
            raise MappingError(f"The pattern is longer than {MAX_PATTERN_BYTES} bytes, which MongoDB does not take.")
        return _cy.compile(pattern, options, _NOT_IN_MONGODB)
    except UnicodeEncodeError as error:
        raise MappingError("The pattern has half of a surrogate pair in it, which no string has.") from error
    except pcre2.PatternError as error:
        raise MappingError(f"The pattern is no regular expression of PCRE2: {error.msg}.") from error


def _search_slowly(regex: Regex[str], options: int, text: str, error: Any) -> bool:
    """Without PCRE2's compiler to machine code, whose stack of 32 KiB does not do for long strings."""
    if error.code == _PCRE2_ERROR_JIT_STACKLIMIT:
        try:
            found = _cy.match(_compile(regex.pattern, options), text, len(text), 0, _MATCH_CONTEXT, 0)[0]
        except pcre2.LibraryError as slow_error:
            error = slow_error
        else:
            return found is not None
    raise MappingError(
        f"A string is too much for the pattern ({error.msg}). Write it without repetitions inside repetitions."
    ) from error
