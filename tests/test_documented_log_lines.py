"""docs/operations.md shows log lines that exist."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent
PLACEHOLDER = re.compile(r"%[-\d.]*[sdrfg]")


def documented() -> Iterator[str]:
    """What stands in the second column of the table of log lines."""
    for line in (PROJECT / "docs" / "operations.md").read_text().splitlines():
        if found := re.match(r"\| (?:INFO|WARNING|ERROR)(?:, ERROR)? \| `([^`]+)`", line):
            yield found[1]


def written() -> Iterator[str]:
    """The texts in the modules that log, with `%s` for what gets a value later."""
    for path in sorted((PROJECT / "changesource").rglob("*.py")):
        if "getLogger" not in (source := path.read_text()):
            continue
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
            elif isinstance(node, ast.JoinedStr):
                yield "".join(str(part.value) if isinstance(part, ast.Constant) else "%s" for part in node.values)


def pattern_of(message: str) -> re.Pattern[str]:
    return re.compile(".+".join(map(re.escape, PLACEHOLDER.split(message))))


# A text of little more than placeholders would be any line.
PATTERNS = [pattern_of(text) for text in written() if len(PLACEHOLDER.sub("", text)) > len("a: b")]
ANY_ERROR = "APP/SHARD: CS…"


@pytest.mark.parametrize("line", [line for line in documented() if line != ANY_ERROR])
def test_a_documented_line_is_logged(line: str) -> None:
    assert any(pattern.fullmatch(line) for pattern in PATTERNS), "no message of the product reads so"
