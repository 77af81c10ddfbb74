"""Which fields of a collection's documents MongoDB is asked for.

Only names of top-level fields go into a projection. A path would change what is kept: `{"a.b": 1}` makes `{a: [{b: 2}]}` out
of `{a: [1, {b: 2}]}`, and `{"a.0": 1}` keeps no element of an array at all.
"""

from __future__ import annotations

from collections.abc import Collection

from changesource.mql.expressions import WHOLE_DOCUMENT
from changesource.tables.compiled_table import ID

Projection = dict[str, int]

EVERYTHING = frozenset({WHOLE_DOCUMENT})


def projection_for(fields: Collection[str]) -> Projection | None:
    """For `find`: the top-level `fields` and `_id`; None for whole documents, where `fields` has `WHOLE_DOCUMENT` or a name
    that no projection can say."""
    if all(map(_can_be_named, fields)):
        return dict.fromkeys(sorted({ID, *fields}), 1)
    return None


def _can_be_named(name: str) -> bool:
    """Whether a projection with this name gives the field of this name and no other.

    A dot makes a path of it, and a dollar sign an operator (`WHOLE_DOCUMENT` begins with one). U+FFFD may stand for bytes
    of a stored name that are no UTF-8.
    """
    return name != "" and not name.startswith("$") and {".", "\0", "\ufffd"}.isdisjoint(name)
