"""Why one query gets no answer, in words for the client that asked."""

from __future__ import annotations

import json
from typing import Any


class ApplicationError(Exception):
    """An error that is meant for the client: its `message` and `details` (any JSON value) are sent as they are.

    Queries may raise it. Whatever else they raise is logged, and the client gets nothing of it but a number under which
    the log has it.

    Raises `TypeError` for what could not be sent: zero-cache reads an answer whole or not at all.
    """

    def __init__(self, message: str, details: Any = None) -> None:
        super().__init__(message)
        try:
            json.dumps(details, allow_nan=False)
            is_sendable = isinstance(message, str)
        except (TypeError, ValueError, RecursionError):
            is_sendable = False
        if not is_sendable:
            raise TypeError("ApplicationError takes a text and a JSON value.")
        self.message = message
        self.details = details


class InvalidQuery(ApplicationError):
    """A query names what the app does not have, or compares a column with what it never holds."""
