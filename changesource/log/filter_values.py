"""The values of filter columns, which an entry holds beside the frames of a table that has such
columns. A session tells by them whose rows the frames hold, without parsing the frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

Values = Sequence[Any]
"""A row's JSON values in the filter columns of its table, in the order of these columns."""


class FilterValues(NamedTuple):
    """The values for one frame: those of the row `now` (None for a delete), and those that rows
    with its key had `before`."""

    now: Values | None
    before: Sequence[Values]


def pack_filter_values(frames: Sequence[FilterValues | None]) -> bytes:
    """Encodes the values as the log keeps them: one item for each frame, in the order of the
    frames. None stands for a frame that concerns all rows of the table (a truncate)."""
    return orjson.dumps([None if values is None else [values.now, values.before] for values in frames])


def unpack_filter_values(packed: bytes) -> list[FilterValues | None]:
    """Decodes what `pack_filter_values` encoded."""
    return [None if item is None else FilterValues(*item) for item in orjson.loads(packed)]
