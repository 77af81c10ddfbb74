"""docs/mapping.md: it names the stages and operators that there are, and its mappings work."""

import json
import re
from pathlib import Path

import pytest

from changesource.mql.errors import MappingError
from changesource.mql.expressions import Scope
from changesource.mql.expressions.compiler import OPERATORS
from changesource.mql.filters import parse_filter
from changesource.mql.pipeline import compile_mapping
from changesource.mql.stages import STAGES
from changesource.mql.text import read_mapping_text

TEXT = (Path(__file__).parents[2] / "docs" / "mapping.md").read_text()
EXAMPLES = [json.loads(text) for text in re.findall(r"^```json\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)]


def listed(name: str) -> list[str]:
    """The names in the list that begins with this comment."""
    [block] = re.findall(rf"<!-- {name} -->\n(.*?)<!-- end -->", TEXT, re.DOTALL)
    return re.findall(r"`(\$\w+)`", block)


def test_stages() -> None:
    """Every stage is listed, and nothing else."""
    assert sorted(listed("stages")) == sorted(STAGES)


def test_expression_operators() -> None:
    """Every operator of expressions is listed in order, and nothing else."""
    assert listed("expression operators") == sorted(OPERATORS)


def test_filter_operators() -> None:
    """Every operator of filters is listed in order, and nothing else: the messages of errors name all that there are."""
    assert listed("filter operators") == sorted(
        set(operators_named_for({"$x": 1}) + operators_named_for({"a": {"$x": 1}}))
    )


def operators_named_for(filter: object) -> list[str]:
    with pytest.raises(MappingError, match="There are ") as error:
        parse_filter(filter, Scope())
    return re.findall(r"\$\w+", error.value.message.partition("There are ")[2])


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples(example: dict[str, object]) -> None:
    """What is written as an example compiles."""
    compile_mapping(read_mapping_text(json.dumps(example)))


def test_there_are_examples() -> None:
    """So that the test before looks at something."""
    assert len(EXAMPLES) >= 3
