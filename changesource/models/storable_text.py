"""Text in the form that every database accepts."""

from __future__ import annotations


def storable_text(text: str, max_length: int) -> str:
    """`text`, truncated, without NUL, which PostgreSQL refuses, and without lone surrogates, which
    UTF-8 cannot encode."""
    printable = text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", errors="replace").decode()
    return printable[:max_length]
