"""How much work the rows of one document may take.

A budget counts work instead of reading a clock, so that every process decides the same about a document: a row that one
of them sends, another one can take back.
"""

from __future__ import annotations

from typing import Final

from changesource.mapping.mapping_error import MappingError

MAX_STEPS: Final = 20_000_000
"""A step is about one expression evaluated, one element of an array visited or one value of a row converted: 0.1 to 0.3
microseconds. All of them take some four seconds, which is well below the lease of a watcher on a machine of half the speed."""

MAX_ROWS: Final = 1_000_000
"""A document of 16 MB has at most 1.9 million elements; a row takes some 300 bytes of memory, before and after a change."""

MAX_BYTES: Final = 256 * 2**20
"""Of text, arrays and objects that are made on the way, and of the rows: sixteen times the largest document."""

QUICK_STEPS: Final = 20_000
QUICK_ROWS: Final = 1_000
QUICK_BYTES: Final = 2**20
"""Some milliseconds: as much as an event loop may wait."""

ELEMENT_BYTES: Final = 64
"""Of an element of an array or a field of an object: a small Python object and the reference to it."""


class BudgetExceeded(MappingError):
    """The rows of a document take more work than one document may cost."""

    def within(self, *steps: str) -> BudgetExceeded:
        """The same error, seen from `steps` further out."""
        return BudgetExceeded(self.message, (*steps, *self.place))


class Budget:
    """What is left of the work for one document: `steps`, `rows` and `bytes`. It belongs to one thread at a time."""

    __slots__ = ("bytes", "rows", "steps")

    def __init__(self, steps: int = MAX_STEPS, rows: int = MAX_ROWS, bytes: int = MAX_BYTES) -> None:
        self.steps = steps
        self.rows = rows
        self.bytes = bytes

    @classmethod
    def quick(cls) -> Budget:
        """A budget that an event loop can wait for."""
        return cls(QUICK_STEPS, QUICK_ROWS, QUICK_BYTES)

    def spend_steps(self, steps: int) -> None:
        """Raises `BudgetExceeded`."""
        self.steps -= steps
        if self.steps < 0:
            raise BudgetExceeded(
                "The document takes more steps than the rows of one document may. "
                "Make its arrays shorter, or the mapping simpler."
            )

    def spend_rows(self, rows: int) -> None:
        """Raises `BudgetExceeded`."""
        self.rows -= rows
        if self.rows < 0:
            raise BudgetExceeded("The document gives more rows than one document may. Unwind shorter arrays.")

    def spend_bytes(self, size: int) -> None:
        """Raises `BudgetExceeded`."""
        self.bytes -= size
        if self.bytes < 0:
            raise BudgetExceeded(
                "The document makes more text, arrays and rows than one document may. "
                "Let the mapping repeat less of the document."
            )
