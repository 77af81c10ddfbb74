"""Every input that is kept, once more: seeds, and whatever fuzzing has found. Needs no atheris."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzzing.targets import CHECKS

FOLDER = Path(__file__).parent
INPUTS = sorted(
    path for kind in ("seeds", "findings") for path in (FOLDER / kind).glob("*/*") if not path.name.startswith(".")
)


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: str(path.relative_to(FOLDER)))
def test_input(path: Path) -> None:
    """What must hold for any bytes holds for these."""
    CHECKS[path.parent.name](path.read_bytes())


@pytest.mark.parametrize("name", CHECKS)
def test_no_input_at_all(name: str) -> None:
    """So it does for none."""
    CHECKS[name](b"")


def test_each_target_has_seeds() -> None:
    """A target without seeds would begin with nothing; a folder without a target would never be used."""
    for kind in ("seeds", "findings"):
        folders = {path.name for path in (FOLDER / kind).iterdir()}
        assert folders <= CHECKS.keys()
    assert {path.parent.name for path in INPUTS if path.parent.parent.name == "seeds"} == CHECKS.keys()
