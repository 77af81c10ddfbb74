"""Inputs for JSON: plain text areas, which a script turns into an editor with colours and with
errors at their places."""

from __future__ import annotations

import json
from typing import Any

from django import forms

from changesource.models.app import validate_json_object
from changesource.mql import StrictJSONDecoder


class JsonEditor(forms.Textarea):
    """For any form field whose text is JSON. Without JavaScript it is a text area in a fixed-width
    font.

    The script shows the messages of the form's field inside the text: at `line 3, column 5` if a
    message says so, or at the value whose place a message begins with (`pipeline[1].$match: …`).
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


class JsonObjectField(forms.JSONField):
    """A JSON object that may be empty, which an empty text also means."""

    def __init__(self, rows: int, help_text: Any) -> None:
        super().__init__(
            required=False,
            initial=dict,
            encoder=IndentedJSONEncoder,
            decoder=StrictJSONDecoder,
            widget=JsonEditor(rows=rows),
            help_text=help_text,
        )

    def clean(self, value: Any) -> Any:
        cleaned = super().clean(value)
        if cleaned is None:
            return {}
        validate_json_object(cleaned)  # the model's validators do not see empty values
        return cleaned
