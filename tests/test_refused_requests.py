"""zerosources/refused_requests.py."""

import logging

import pytest

from zerosources.refused_requests import WithoutTraceback

FAILURE = (ValueError, ValueError("x"), None)


@pytest.mark.parametrize(
    ("name", "level", "keeps"),
    [
        ("django.security.DisallowedHost", logging.ERROR, False),
        ("django.request", logging.WARNING, False),
        ("django.request", logging.ERROR, True),
        ("changesource.consumers", logging.ERROR, True),
    ],
)
def test_tracebacks(name: str, level: int, keeps: bool) -> None:
    """Failures keep theirs; what a caller did wrong has none. Every line stays."""
    record = logging.LogRecord(name, level, "", 0, "It was refused.", (), FAILURE)
    assert WithoutTraceback().filter(record)
    assert bool(record.exc_info) == keeps
