"""Regular expressions as mongod runs them: PCRE2 on UTF-8, without Unicode properties for \\w, \\d, \\s and \\b."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import pcre2  # type: ignore[import-untyped]
from bson import Regex

# The package's own functions switch on PCRE2_ALT_BSUX, with which \x{e9} and \u mean other things than in MongoDB, and
# make a Match object that nobody needs: its inner module lets one do without both. It is pinned for that reason.
from pcre2 import _cy

from changesource.mql.budget import CHARACTERS_PER_STEP, Budget
from changesource.mql.errors import MappingError

Search = Callable[[str, Budget], bool]

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
_PCRE2_ERROR_MATCHLIMIT = -47
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
    """Whether the pattern is found in a string. Raises `MappingError`, then and for each string, with what to do.

    PCRE2 counts what it does from one place of a string on, and forgets it at the next place. So the limit on that count
    is small at first, which nearly all strings keep to, and ten times as high with each try after that; each try is paid
    for as if it reached its limit at every place. No single call, during which all threads of the process wait, takes more
    than `MAX_CALL_STEPS`.
    """
    options = sum(int(option) for bit, option in _PCRE2_OPTIONS if regex.flags & bit)
    shape = _Shape.of(regex)
    codes: dict[tuple[int, bool], Any] = {}

    def code(limit: int, by_machine_code: bool) -> Any:
        key = (limit, by_machine_code)
        if key not in codes:
            compiled = _compile(regex.pattern, options, limit)
            if by_machine_code:
                with suppress(pcre2.LibraryError):  # a few patterns have no machine code, and are interpreted
                    _cy.jit_compile(compiled)
            codes[key] = compiled
        return codes[key]

    code(FIRST_LIMIT, True)

    def search(text: str, budget: Budget) -> bool:
        by_machine_code = True
        limit = FIRST_LIMIT
        length = len(text)
        while True:
            steps = shape.steps(length, limit, by_machine_code)
            if steps > MAX_CALL_STEPS:
                raise MappingError(TOO_MUCH)
            budget.spend_steps(steps)
            try:
                return _cy.match(code(limit, by_machine_code), text, length, 0, _MATCH_CONTEXT, 0)[0] is not None
            except pcre2.LibraryError as error:
                if error.code == _PCRE2_ERROR_JIT_STACKLIMIT and by_machine_code:
                    # PCRE2's stack of 32 KiB for machine code does not do for long strings.
                    by_machine_code = False
                elif error.code == _PCRE2_ERROR_MATCHLIMIT and limit < LAST_LIMIT:
                    limit *= LIMIT_GROWTH
                else:
                    raise MappingError(f"{TOO_MUCH} ({error.msg})") from error
            except UnicodeEncodeError:  # not from MongoDB: PyMongo decodes what is no UTF-8 to U+FFFD
                text = _LONE_SURROGATES.sub("\N{REPLACEMENT CHARACTER}", text)

    return search


FIRST_LIMIT: Final = 100
LIMIT_GROWTH: Final = 10
LAST_LIMIT: Final = 10_000_000
"""PCRE2's own, and mongod's."""

MAX_CALL_STEPS: Final = 5_000_000
"""About a second."""

COUNTS_PER_STEP: Final = 80
COUNTS_PER_STEP_INTERPRETED: Final = 8
"""What PCRE2 counts takes about 2 nanoseconds by machine code, and 15 without."""

PAIRS_PER_STEP: Final = 1_000
"""Where a repetition reads on from each place to the end of the string, PCRE2 does not count that. For `(?>x+)[yz]` it takes
0.15 nanoseconds for each place and each character."""

PLACES_PER_STEP: Final = 500
"""At which one character of the pattern is tried."""

TOO_MUCH: Final = (
    "A string is too much for the pattern. Write it without repetitions inside repetitions, or begin it with ^."
)


@dataclass(frozen=True, slots=True)
class _Shape:
    """What a pattern can cost. `repetitions` have no end; `is_anchored`: it is tried at the beginning only."""

    length: int
    repetitions: int
    branches: bool
    repeats_text: bool
    is_anchored: bool

    @classmethod
    def of(cls, regex: Regex[str]) -> _Shape:
        pattern = regex.pattern
        return cls(
            length=max(1, len(pattern)),
            repetitions=len(_UNBOUNDED.findall(pattern)),
            branches=any(sign in pattern for sign in "*+?{("),
            repeats_text=_BACKREFERENCE.search(pattern) is not None,
            is_anchored=_is_anchored(regex),
        )

    def steps(self, length: int, limit: int, by_machine_code: bool) -> int:
        """What a search in a string of `length` takes at most."""
        places = 1 if self.is_anchored else 1 + length
        steps = 3 + length // CHARACTERS_PER_STEP + places * self.length // PLACES_PER_STEP
        if self.branches:
            counts = places * limit * (1 + length // CHARACTERS_PER_STEP if self.repeats_text else 1)
            steps += counts // (COUNTS_PER_STEP if by_machine_code else COUNTS_PER_STEP_INTERPRETED)
        return steps + self.repetitions * places * length // PAIRS_PER_STEP


def _is_anchored(regex: Regex[str]) -> bool:
    """Whether it is easy to see that the pattern is tried at the beginning of a string only."""
    pattern = regex.pattern
    if not pattern.startswith("^") or regex.flags & re.M or "(?" in pattern.replace("(?:", ""):
        return False
    if "|" not in pattern:
        return True
    depth = 0
    for sign in pattern:
        depth += (sign == "(") - (sign == ")")
        if sign in "\\[" or (sign == "|" and depth == 0):
            return False
    return True


_UNBOUNDED = re.compile(r"[*+]|\{[0-9]*,\}")
_BACKREFERENCE = re.compile(r"\\[1-9gk]|\(\?P=|\(\?[R0-9&+-]|\(\?P>")


def _compile(pattern: str, options: int, limit: int) -> Any:
    if "\0" in pattern:
        raise MappingError("A pattern cannot hold U+0000. Write \\x00 for it.")
    try:
        if len(pattern.encode()) > MAX_PATTERN_BYTES:
            raise MappingError(f"The pattern is longer than {MAX_PATTERN_BYTES} bytes, which MongoDB does not take.")
        return _cy.compile(f"(*LIMIT_MATCH={limit}){pattern}", options, _NOT_IN_MONGODB)
    except UnicodeEncodeError as error:
        raise MappingError("The pattern has half of a surrogate pair in it, which no string has.") from error
    except pcre2.PatternError as error:
        raise MappingError(f"The pattern is no regular expression of PCRE2: {error.msg}.") from error
