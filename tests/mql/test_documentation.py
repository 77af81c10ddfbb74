"""The stages and operators in docs/mapping.md are those that there are, and its mappings and the README of mql work."""

import doctest
import json
import re
from pathlib import Path

import pytest

from changesource.mql.errors import MqlError
from changesource.mql.expressions.compiler import OPERATORS
from changesource.mql.filters import parse_filter
from changesource.mql.pipeline import compile_pipeline
from changesource.mql.stages import STAGES
from changesource.mql.text import read_mapping_text

ROOT = Path(__file__).parents[2]
README = ROOT / "changesource" / "mql" / "README.md"
TEXT = (ROOT / "docs" / "mapping.md").read_text()
EXAMPLES = [json.loads(text) for text in re.findall(r"^```json\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)]


def listed(name: str) -> list[str]:
    """The names in the list that begins with this comment."""
    [block] = re.findall(rf"<!-- {name} -->\n(.*?)<!-- end -->", TEXT, re.DOTALL)
    return re.findall(r"`(\$\w+)`", block)


def test_every_stage_is_listed() -> None:
    """Every stage is listed, and nothing else."""
    assert sorted(listed("stages")) == sorted(STAGES)


def test_every_expression_operator_is_listed() -> None:
    """Every operator of expressions is listed in order, and nothing else."""
    assert listed("expression operators") == sorted(OPERATORS)


def test_every_filter_operator_is_listed() -> None:
    """Every operator of filters is listed in order, and nothing else: the messages of errors name all that there are."""
    assert listed("filter operators") == sorted(
        set(operators_named_for({"$x": 1}) + operators_named_for({"a": {"$x": 1}}))
    )


def operators_named_for(filter: object) -> list[str]:
    with pytest.raises(MqlError, match="There are ") as error:
        parse_filter(filter)
    return re.findall(r"\$\w+", error.value.message.partition("There are ")[2])


@pytest.mark.parametrize("example", EXAMPLES)
def test_each_example_compiles(example: dict[str, object]) -> None:
    """What is written as an example compiles."""
    compile_pipeline(read_mapping_text(json.dumps(example)))


def test_the_documentation_has_examples() -> None:
    """So that the test before looks at something."""
    assert len(EXAMPLES) >= 3


def test_the_examples_of_the_readme_give_what_it_says() -> None:
    """Each is run as it is written."""
    results = doctest.testfile(str(README), module_relative=False)
    assert results.failed == 0
    assert results.attempted >= 10
