"""What an entry says beside the row frames of a table with filter columns: the values of these columns, by which a session
knows whose rows they are without reading them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

Values = Sequence[Any]
"""The JSON values of a row in the filter columns of its table, in their order."""


class FilterValues(NamedTuple):
    """Of one frame: what the row has `now`, None for a removal, and what rows with its key had `before`."""

    now: Values | None
    before: Sequence[Values]


def pack_filter_values(frames: Sequence[FilterValues | None]) -> bytes:
    """As the log keeps it: one item for each frame, in the order of the frames. None: the frame is about all rows of the
    table, whoever they belong to."""
    return orjson.dumps([None if values is None else [values.now, values.before] for values in frames])


def unpack_filter_values(packed: bytes) -> list[FilterValues | None]:
    """What `pack_filter_values` was given."""
    return [None if item is None else FilterValues(*item) for item in orjson.loads(packed)]
