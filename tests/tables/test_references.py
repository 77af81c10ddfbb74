"""Objects that PyMongo decodes as DBRefs: those with $ref and $id, beside which others may stand."""

from __future__ import annotations

import time
from typing import Any

import bson
import pytest
from bson import DBRef

from changesource.mql.bson_types import without_references
from changesource.tables.document_ids import identity_of


@pytest.mark.parametrize(
    "document_id",
    [
        DBRef("a", 1),
        DBRef("a", {"x": DBRef("b", 2, "shop")}, more=[DBRef("c", 3), "x"]),
        {"x": [1, {"y": DBRef("a", None)}]},
        [1, 2.5, "x"],
        5,
    ],
)
def test_objects_encode_to_the_bytes_of_references(document_id: Any) -> None:
    """Wherever the references are in a value."""
    plain = without_references(document_id)
    assert bson.encode({"": plain}) == bson.encode({"": document_id})
    assert "DBRef" not in repr(plain)


def test_a_large_reference_as_id_is_identified_in_linear_time() -> None:
    """PyMongo's own `as_doc` takes quadratic time."""
    reference = DBRef("a", 1, **{f"field{number}": number for number in range(50_000)})
    began = time.thread_time()
    assert identity_of(reference) == identity_of(without_references(reference))
    assert time.thread_time() - began < 2
