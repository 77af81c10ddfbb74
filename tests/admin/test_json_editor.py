"""json_editor.py: JSON in forms."""

import json

from changesource.admin.json_editor import IndentedJSONEncoder


def test_json_for_people_has_lines() -> None:
    """A person edits what the encoder writes."""
    assert json.dumps({"a": [1]}, cls=IndentedJSONEncoder) == '{\n  "a": [\n    1\n  ]\n}'
