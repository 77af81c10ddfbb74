"""strict_json.py: JSON as people write it."""

import json

import pytest

from changesource.mql.strict_json import StrictJSONDecoder


@pytest.mark.parametrize("text", ['{"a": [1, 2.5, "x", null, true]}', '"\\ud83d\\ude00"', "[" * 100 + "]" * 100])
def test_json_that_every_database_keeps_is_read(text: str) -> None:
    """Everything that a database keeps is read as `json` reads it."""
    assert json.loads(text, cls=StrictJSONDecoder) == json.loads(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "NaN",
        "[-Infinity]",
        "1e999",
        '"\\u0000"',
        '{"\\ud800": 1}',
        "9" * 5_000,
        "[" * 102 + "]" * 102,
        "[" * 100_000,
        '{"a":' * 100_000,
    ],
)
def test_everything_else_is_refused(text: str) -> None:
    """What is not JSON, or what a database would refuse, raises `JSONDecodeError` and nothing else."""
    with pytest.raises(json.JSONDecodeError):
        json.loads(text, cls=StrictJSONDecoder)
