"""JSON as people write it."""

import json

import pytest

from changesource.publishing.json_text import IndentedJSONEncoder, StorableJSONDecoder


@pytest.mark.parametrize("text", ['{"a": [1, 2.5, "x", null, true]}', '"\\ud83d\\ude00"', "[" * 100 + "]" * 100])
def test_json_is_read(text: str) -> None:
    """Everything that a database keeps is read as `json` reads it."""
    assert json.loads(text, cls=StorableJSONDecoder) == json.loads(text)


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
def test_rest_is_refused(text: str) -> None:
    """What is no JSON, or what a database would refuse, is a `JSONDecodeError` and nothing else."""
    with pytest.raises(json.JSONDecodeError):
        json.loads(text, cls=StorableJSONDecoder)


def test_indented() -> None:
    """JSON for people has lines."""
    assert json.dumps({"a": [1]}, cls=IndentedJSONEncoder) == '{\n  "a": [\n    1\n  ]\n}'
