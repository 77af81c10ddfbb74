"""Regular expressions as mongod runs them: PCRE2 on UTF-8, without Unicode properties for \\w, \\d, \\s and \\b."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import pcre2  # type: ignore[import-untyped]
from bson import Regex

# The package's public functions switch on PCRE2_ALT_BSUX, under which \x{e9} and \u do not mean what they mean in MongoDB,
# and make a Match object that is not needed here. Its inner module does neither. The package is pinned for that reason.
from pcre2 import _cy

from changesource.mql.budget import CHARACTERS_PER_STEP, Budget
from changesource.mql.errors import MqlError

Search = Callable[[str, Budget], bool]

OPTION_BITS: Final[Mapping[str, int]] = {"i": re.I, "m": re.M, "s": re.S, "x": re.X, "u": re.U}
"""MongoDB's options and their bits in `bson.Regex`. The option u has no effect, as all strings are UTF-8."""

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
    """A regular expression whose pattern is text. Raises `MqlError` for one that mongod does not accept."""
    regex = value if isinstance(value, Regex) else Regex.from_native(value)
    pattern = regex.pattern
    if isinstance(pattern, bytes):
        try:
            pattern = pattern.decode()
        except UnicodeDecodeError as error:
            raise MqlError("The pattern of the regular expression is not UTF-8.") from error
    if regex.flags & ~sum(OPTION_BITS.values()):
        raise MqlError("The regular expression has an option that MongoDB has not. It takes i, m, s, x and u.")
    checked = Regex(pattern, regex.flags)
    compile_regex(checked)
    return checked


def regex_with_options(pattern: str, options: str) -> Regex[str]:
    """Like `regex_of`, with the options as MongoDB's letters."""
    unknown = set(options) - OPTION_BITS.keys()
    if unknown:
        raise MqlError(f"$options takes the letters i, m, s, x and u, not {''.join(sorted(unknown))!r}.")
    return regex_of(Regex(pattern, options))


def compile_regex(regex: Regex[str]) -> Search:
    """A function that says whether the pattern is found in a string. Both may raise `MqlError`.

    PCRE2 counts its work from each starting place in a string separately. The limit on that count is therefore small at
    first, which is enough for nearly all strings, and ten times as high with each further try. Each try is paid for as if it
    reached its limit at every place. No single call takes more than `MAX_CALL_STEPS`, because all threads of the process
    wait for it.
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
                raise MqlError(TOO_MUCH)
            budget.spend_steps(steps)
            try:
                return _cy.match(code(limit, by_machine_code), text, length, 0, _MATCH_CONTEXT, 0)[0] is not None
            except pcre2.LibraryError as error:
                if error.code == _PCRE2_ERROR_JIT_STACKLIMIT and by_machine_code:
                    # PCRE2's stack of 32 KiB for machine code is too small for some long strings.
                    by_machine_code = False
                elif error.code == _PCRE2_ERROR_MATCHLIMIT and limit < LAST_LIMIT:
                    limit *= LIMIT_GROWTH
                else:
                    raise MqlError(f"{TOO_MUCH} ({error.msg})") from error
            except UnicodeEncodeError:  # never from MongoDB: PyMongo decodes invalid UTF-8 to U+FFFD
                text = _LONE_SURROGATES.sub("\N{REPLACEMENT CHARACTER}", text)

    return search


FIRST_LIMIT: Final = 100
LIMIT_GROWTH: Final = 10
LAST_LIMIT: Final = 10_000_000
"""The default of PCRE2 and of mongod."""

MAX_CALL_STEPS: Final = 5_000_000
"""About a second."""

COUNTS_PER_STEP: Final = 80
COUNTS_PER_STEP_INTERPRETED: Final = 8
"""One of PCRE2's counts takes about 2 nanoseconds in machine code, and 15 without."""

PAIRS_PER_STEP: Final = 1_000
"""PCRE2 does not count when a repetition reads from each place to the end of the string. For `(?>x+)[yz]` that takes
0.15 nanoseconds for each place and each character."""

PLACES_PER_STEP: Final = 500
"""Places of a string at which one character of the pattern can be tried in the time of a step."""

TOO_MUCH: Final = (
    "A string is too much for the pattern. Write it without repetitions inside repetitions, or begin it with ^."
)


@dataclass(frozen=True, slots=True)
class _Shape:
    """What a pattern can cost. `repetitions` counts the unbounded ones; an anchored pattern is tried at the start only."""

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
        """The most steps that a search in a string of `length` can take."""
        places = 1 if self.is_anchored else 1 + length
        steps = 3 + length // CHARACTERS_PER_STEP + places * self.length // PLACES_PER_STEP
        if self.branches:
            counts = places * limit * (1 + length // CHARACTERS_PER_STEP if self.repeats_text else 1)
            steps += counts // (COUNTS_PER_STEP if by_machine_code else COUNTS_PER_STEP_INTERPRETED)
        return steps + self.repetitions * places * length // PAIRS_PER_STEP


def _is_anchored(regex: Regex[str]) -> bool:
    """Whether the pattern is obviously tried at the start of a string only."""
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
        raise MqlError("A pattern cannot hold U+0000. Write \\x00 for it.")
    try:
        if len(pattern.encode()) > MAX_PATTERN_BYTES:
            raise MqlError(f"The pattern is longer than {MAX_PATTERN_BYTES} bytes, which MongoDB does not take.")
        return _cy.compile(f"(*LIMIT_MATCH={limit}){pattern}", options, _NOT_IN_MONGODB)
    except UnicodeEncodeError as error:
        raise MqlError("The pattern has half of a surrogate pair in it, which no string has.") from error
    except pcre2.PatternError as error:
        raise MqlError(f"The pattern is not a regular expression of PCRE2: {error.msg}.") from error
