"""Inputs for JSON: plain text areas, which a script turns into an editor with colours and errors at their places."""

from __future__ import annotations

import json
from typing import Any

from django import forms


class JsonEditor(forms.Textarea):
    """For any form field whose text is JSON. Without JavaScript it is a text area in a fixed-width font.

    The script shows the messages of the form's field in the text: at `line 3, column 5` if a message says so, or at the
    value that one begins with the place of (`pipeline[1].$match: …`).
    """

    def __init__(self, rows: int = 12) -> None:
        super().__init__(attrs={"rows": rows, "class": "vLargeTextField json-editor", "spellcheck": "false"})

    @property
    def media(self) -> Any:
        script: Any = forms.widgets.Script("changesource/json_editor.js", defer=True)
        return forms.Media(css={"all": ["changesource/admin.css"]}, js=[script])


class IndentedJSONEncoder(json.JSONEncoder):
    """Writes JSON for people."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "indent": 2})
