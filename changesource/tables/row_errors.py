"""What is recorded about a row that could not be built as its document says."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RowError:
    """One value that did not fit its column, or one row that was left out.

    `table` and `column` are server names. `document_id` is the text of the document's `_id`, `reason` says what
    happened and what to do; neither holds any other content of the document.
    """

    table: str
    document_id: str
    column: str
    reason: str
