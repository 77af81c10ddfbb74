"""Which fields of a collection's documents are requested from MongoDB.

Only names of top-level fields go into a projection. A path would change what is kept: `{"a.b": 1}`
makes `{a: [1, {b: 2}]}` into `{a: [{b: 2}]}`, and `{"a.0": 1}` keeps no element of an array at all.
"""

from __future__ import annotations

from collections.abc import Collection

from changesource.mql import WHOLE_DOCUMENT
from changesource.tables.compiled_table import ID

Projection = dict[str, int]

EVERYTHING = frozenset({WHOLE_DOCUMENT})


def projection_for(fields: Collection[str]) -> Projection | None:
    """Returns a projection for `find`, of the top-level `fields` and `_id`. Returns None, for whole
    documents, if `fields` has `WHOLE_DOCUMENT` or a name that cannot be in a projection."""
    if all(map(_can_be_named, fields)):
        return dict.fromkeys(sorted({ID, *fields}), 1)
    return None


def _can_be_named(name: str) -> bool:
    """Whether a projection with this name keeps the field of this name and no other.

    A dot would make it a path, and a dollar sign an operator (`WHOLE_DOCUMENT` begins with one).
    U+FFFD may stand for bytes of a stored name that are not UTF-8.
    """
    return name != "" and not name.startswith("$") and {".", "\0", "\ufffd"}.isdisjoint(name)
