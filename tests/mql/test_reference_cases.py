"""Documents and mappings with what has to come of them, out of `reference_cases.json`.

Each case is Extended JSON: a document, a mapping of one kind, and whether it matches, what it gives (ObjectIds as hex digits
and dates as ISO text), or that it fails: when it is compiled or for that document. The facts come from the tests and the
documentation of another implementation, and from MongoDB's manual where these differ.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from bson import DatetimeMS, ObjectId, json_util
from bson.json_util import DatetimeConversion, JSONOptions

from changesource.mql import MqlError, compile_filter, compile_pipeline
from changesource.tables.values import convert

CASES = json.loads(Path(__file__).with_name("reference_cases.json").read_text(encoding="utf-8"))
AS_DECODED = JSONOptions(datetime_conversion=DatetimeConversion.DATETIME_MS, document_class=dict)
WITH_DATETIME = JSONOptions(tz_aware=True, document_class=dict)


def shown(value: Any) -> Any:
    """A value in the way in which the cases write it."""
    if isinstance(value, dict):
        return {name: shown(member) for name, member in value.items()}
    if isinstance(value, list):
        return [shown(member) for member in value]
    return convert("string", value) if isinstance(value, ObjectId | DatetimeMS) else value


@pytest.mark.parametrize("options", [AS_DECODED, WITH_DATETIME], ids=["milliseconds", "datetime"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_a_case_gives_what_it_says(case: dict[str, Any], options: JSONOptions) -> None:
    """Whichever way the dates were decoded."""
    document = json_util.loads(json.dumps(case["document"]), json_options=options)
    mapping = json_util.loads(json.dumps(case["mapping"]), json_options=options)
    if "matches" in case:
        assert compile_filter(mapping["filter"])(document) is case["matches"]
    elif case.get("fails"):
        with pytest.raises(MqlError):
            compile_pipeline(mapping)(document)
    else:
        assert shown(compile_pipeline(mapping)(document)) == case["gives"]


def test_there_are_cases_of_every_kind() -> None:
    """Every kind of mapping, and every kind of outcome."""
    assert len(CASES) == 96
    assert {next(iter(case["mapping"])) for case in CASES} == {"filter", "projection", "pipeline"}
    assert {outcome for case in CASES for outcome in ("matches", "gives", "fails") if outcome in case} == {
        "matches",
        "gives",
        "fails",
    }
