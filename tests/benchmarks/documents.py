"""What is measured with."""

from typing import Any

from bson import DatetimeMS, ObjectId


def make_document(n: int) -> dict[str, Any]:
    """Some 270 bytes of BSON."""
    return {
        "_id": ObjectId(),
        "n": n,
        "price": n * 1.25,
        "title": f"Item {n}",
        "text": "The quick brown fox jumps over the lazy dog. " * 3,
        "at": DatetimeMS(1_700_000_000_000 + n),
        "done": n % 2 == 0,
        "tags": ["a", "b", n],
    }
