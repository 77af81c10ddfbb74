"""One word, one meaning: what the glossary has another word for stays out (docs/explanation/glossary.md)."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = [
    *(path for path in (ROOT / "changesource").rglob("*.py") if "migrations" not in path.parts),
    *(ROOT / "zerosources").rglob("*.py"),
    *ROOT.glob("*.md"),
    *(ROOT / "docs").rglob("*.md"),
]
INSTEAD = {
    r"anew": "again, or start over",
    r"for ever": "forever, until …",
    r"any more|no more is": "no longer",
    r"[Ww]itness\w*|SourceWitness": "SourceIdentity",
    r"[Ss]tandings?": "entitlements",
    r"\w*_turns?|[Tt]urns_\w*|its turn|the next turn": "cutover, or slot of a semaphore",
    r"VersionSwitch": "Transition",
    r"[Hh]ops?": "connection, as in Zero's schemas",
}
"""What to write, by what is not written. Words that also have a plain meaning, such as `place`, are not here."""


@pytest.mark.parametrize("word", INSTEAD)
def test_a_word_of_before_is_not_used(word: str) -> None:
    """Each place is named, with what to write there."""
    pattern = re.compile(rf"(?<![\w-])(?:{word})(?![\w-])")
    places = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in FILES
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if pattern.search(line)
    ]
    assert places == [], f"Write: {INSTEAD[word]}"
