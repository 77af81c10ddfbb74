"""Replays every kept input: seeds, and whatever fuzzing has found. This needs no atheris."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzzing.targets import CHECKS

FOLDER = Path(__file__).parent
INPUTS = sorted(
    path for kind in ("seeds", "findings") for path in (FOLDER / kind).glob("*/*") if not path.name.startswith(".")
)


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: str(path.relative_to(FOLDER)))
def test_what_must_hold_for_any_bytes_holds_for_each_kept_input(path: Path) -> None:
    """Seeds and findings are replayed."""
    CHECKS[path.parent.name](path.read_bytes())


@pytest.mark.parametrize("name", CHECKS)
def test_what_must_hold_for_any_bytes_holds_for_none(name: str) -> None:
    """An empty input is an input too."""
    CHECKS[name](b"")


def test_each_target_has_seeds() -> None:
    """A target without seeds would start from nothing; a folder without a target would never be used."""
    for kind in ("seeds", "findings"):
        folders = {path.name for path in (FOLDER / kind).iterdir()}
        assert folders <= CHECKS.keys()
    assert {path.parent.name for path in INPUTS if path.parent.parent.name == "seeds"} == CHECKS.keys()
