"""errors.py: the catalogue, and its page in the documentation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from changesource.errors import ChangeSourceError, MappingRefused
from changesource.mql import MqlError

OPERATIONS = (Path(__file__).resolve().parents[1] / "docs" / "operations.md").read_text()


def subclasses(kind: type[ChangeSourceError]) -> Iterator[type[ChangeSourceError]]:
    for one in kind.__subclasses__():
        yield one
        yield from subclasses(one)


def test_each_code_is_documented() -> None:
    """With its cause and its remedy."""
    documented = set(re.findall(r"^\| (CS\d{3}) \| .+ \| .+ \|$", OPERATIONS, re.MULTILINE))
    assert {error.code for error in subclasses(ChangeSourceError)} - documented == set()


def test_each_code_means_one_thing() -> None:
    """Errors that share a code are subclasses of one another."""
    by_code: dict[str, type[ChangeSourceError]] = {}
    for error in subclasses(ChangeSourceError):
        known = by_code.setdefault(error.code, error)
        assert issubclass(error, known), (error, known)


def test_the_code_of_mql_is_in_the_catalogue() -> None:
    """`changesource.mql` imports nothing of the project, so its error has the code of the one that stands for it."""
    assert MqlError.code == MappingRefused.code
