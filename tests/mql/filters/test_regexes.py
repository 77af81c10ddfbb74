"""Patterns find what mongod's find."""

import re

import pytest
from bson import Regex

from changesource.mql.budget import Budget
from changesource.mql.errors import MqlError
from changesource.mql.filters import compile_filter
from changesource.mql.filters.regexes import MAX_PATTERN_BYTES, compile_regex, regex_of, regex_with_options


@pytest.mark.parametrize(
    ("pattern", "options", "text", "found"),
    [
        ("^he", "", "hello", True),
        ("lo$", "", "hello", True),
        ("lo$", "", "hello\n", True),
        ("HE", "", "hello", False),
        ("HE", "i", "hello", True),
        ("É", "i", "é", True),
        ("k", "i", "\N{KELVIN SIGN}", True),
        (r"\w", "", "é", False),
        (r"(*UCP)\w", "", "é", True),
        (r"\d", "", "٣", False),
        (r"\s", "", "\N{NO-BREAK SPACE}", False),
        (r"\p{L}", "", "é", True),
        ("^.$", "", "😀", True),
        (r"^\x{e9}$", "", "é", True),
        (r"^\x41$", "", "A", True),
        ("a.b", "", "a\nb", False),
        ("a.b", "s", "a\nb", True),
        ("^b", "", "a\nb", False),
        ("^b", "m", "a\nb", True),
        ("a b # c", "x", "ab", True),
        ("x", "u", "x", True),
        ("(?<=a)b(?!c)", "", "ab", True),
        ("(?i)HE", "", "hello", True),
        ("^a++b", "", "aab", True),
        ("", "", "", True),
        (r"a\x00b", "", "a\0b", True),
    ],
)
def test_a_pattern_finds_what_mongod_finds(pattern, options, text, found):
    """UTF-8 without Unicode properties, PCRE2's syntax, MongoDB's options."""
    assert compile_regex(regex_with_options(pattern, options))(text, Budget()) is found


@pytest.mark.parametrize("pattern", ["(", "[z-a]", "a\0", "\ud800", r"\u00e9", "x" * (MAX_PATTERN_BYTES + 1)])
def test_a_pattern_that_mongod_refuses_does_not_compile(pattern):
    """What mongod refuses is refused when it is compiled."""
    with pytest.raises(MqlError):
        regex_with_options(pattern, "")


def test_a_pattern_of_python_is_accepted():
    """`re.Pattern` stands for what PyMongo encodes it as."""
    assert regex_of(re.compile("x", re.I)).flags == re.I | re.U


def test_half_a_surrogate_pair_is_one_unknown_character():
    """A string that no MongoDB can hold is matched and does not crash."""
    assert compile_regex(Regex("^a.b$"))("a\ud800b", Budget())


def test_catastrophic_backtracking_soon_ends_in_an_error():
    """It is an error of the document, with its place, and names no value."""
    matches = compile_filter({"a.b": {"$regex": "^(x+)+$"}})
    assert matches({"a": {"b": "xxx"}})
    with pytest.raises(MqlError, match="too much") as caught:
        matches({"a": {"b": "x" * 40 + "!"}})
    assert caught.value.place == ("a.b", "$regex")
    assert "xxx" not in str(caught.value)


def test_a_long_string_is_searched_without_machine_code():
    """When it is too long for the stack of PCRE2's machine code."""
    search = compile_regex(Regex("^(a|b)*c"))
    assert search("a" * 100_000 + "c", Budget())
    assert not search("a" * 100_000, Budget())


def test_catastrophic_backtracking_ends_without_machine_code_too():
    """The way without machine code ends as well."""
    with pytest.raises(MqlError, match="too much"):
        compile_regex(Regex("^(?:(a|b)*)*$"))("ab" * 100_000 + "!", Budget())
