"""How much work the rows of one document may take.

A budget counts work and reads no clock, so that every process decides alike about a document: any of them can remove the
rows that another one has sent. The costs are therefore part of what a published version means. A change to these numbers
can change which documents have rows.
"""

from __future__ import annotations

from typing import Any, Final

from changesource.mql.errors import MqlError

MAX_STEPS: Final = 20_000_000
"""A step is about the evaluation of one operator or path, or a visit to one element of an array: 0.05 to 0.3 microseconds.
All of them together take about four seconds, or one to eight, depending on the operators (measured on a shared core of
2.5 GHz)."""

MAX_ROWS: Final = 1_000_000
"""An array of this many numbers takes 12 MB of the 16 MB that a document can have."""

MAX_BYTES: Final = 256 * 2**20
"""For all text, arrays, objects and rows that are made for one document: sixteen times the largest document."""

MAX_VALUE_BYTES: Final = 16 * 2**20
"""For the text, array or object that one operator makes: as much as a document in MongoDB can have."""

QUICK_STEPS: Final = 20_000
QUICK_ROWS: Final = 1_000
QUICK_BYTES: Final = 2 * 2**20
"""A few milliseconds: as long as an event loop may be blocked."""

ELEMENT_BYTES: Final = 64
"""For a new element of an array or a new field of an object: a small Python object and the reference to it."""
REFERENCE_BYTES: Final = 16
"""For an element that is taken over from another array; as much as mongod counts (internalQueryMaxRangeBytes)."""

STEPS_OF_ERROR: Final = 50
"""Python takes long to raise an error through all the calls that it is in."""

FREE_CHARACTERS: Final = 64
"""Reading or making text up to this length costs no more than the operator that does it."""
CHARACTERS_PER_STEP: Final = 64
"""For text that a C function reads, at a few nanoseconds a character in the worst case."""
COPIED_PER_STEP: Final = 512
"""For characters that are only copied."""
REFERENCES_PER_STEP: Final = 32
"""Elements that a C function copies in the time of a step."""
FIELDS_PER_STEP: Final = 4
"""Fields that can be put into an object in the time of a step."""

MAX_VALUE_DEPTH: Final = 150
"""Objects and arrays inside each other in a computed value: more than MongoDB stores, and far less than Python's stack
allows."""


class BudgetExceeded(MqlError):
    """The rows of a document take more work than one document may cost."""

    def within(self, *steps: str) -> BudgetExceeded:
        """The same error, seen from `steps` further out."""
        return BudgetExceeded(self.message, (*steps, *self.place))


class Budget:
    """What is left of the work for one document: `steps`, `rows` and `bytes`.

    It belongs to one call at a time, and so to one thread. `memo` keeps what that call has computed and may need again.
    """

    __slots__ = ("bytes", "memo", "rows", "steps")

    def __init__(self, steps: int = MAX_STEPS, rows: int = MAX_ROWS, bytes: int = MAX_BYTES) -> None:
        self.steps = steps
        self.rows = rows
        self.bytes = bytes
        self.memo: dict[Any, Any] | None = None

    @classmethod
    def quick(cls) -> Budget:
        """A budget small enough to be spent on an event loop."""
        return cls(QUICK_STEPS, QUICK_ROWS, QUICK_BYTES)

    def spend_steps(self, steps: int) -> None:
        """Raises `BudgetExceeded` when less than `steps` is left, as the other methods do for what they spend."""
        self.steps -= steps
        if self.steps < 0:
            raise BudgetExceeded(
                "The document takes more steps than its rows may cost. "
                "Shorten its arrays and texts, or do less with them in the mapping."
            )

    def spend_rows(self, rows: int) -> None:
        self.rows -= rows
        if self.rows < 0:
            raise BudgetExceeded("The document gives more rows than one document may. Unwind shorter arrays.")

    def spend_bytes(self, size: int) -> None:
        self.bytes -= size
        if self.bytes < 0:
            raise BudgetExceeded(
                "The mapping makes more text, arrays and rows of the document than it may. "
                "Let it repeat less of the document."
            )

    def spend_error(self) -> None:
        """For an error that is recorded and does not end the work on the document."""
        self.spend_steps(STEPS_OF_ERROR)

    def read_text(self, length: int) -> None:
        """For `length` characters that a C function reads."""
        if length > FREE_CHARACTERS:
            self.spend_steps(length // CHARACTERS_PER_STEP)

    def write_text(self, length: int) -> None:
        """For `length` characters that a C function has made of another value."""
        if length > FREE_CHARACTERS:
            self.spend_steps(length // CHARACTERS_PER_STEP)
            self.spend_bytes(length)

    def make_text(self, length: int) -> None:
        """For new text; to be called before it is made. Raises a plain `MqlError` for a single value that is too large."""
        if length > FREE_CHARACTERS:
            self._make(length)
            self.spend_steps(length // COPIED_PER_STEP)

    def make_elements(self, number: int) -> None:
        """For the new elements of an array; to be called before they are made."""
        self._make(number * ELEMENT_BYTES, number * REFERENCE_BYTES)
        self.spend_steps(number)

    def make_fields(self, number: int) -> None:
        """For the fields of a new object, without their values; to be called before they are made."""
        self._make(number * ELEMENT_BYTES, number * REFERENCE_BYTES)
        self.spend_steps(1 + number // FIELDS_PER_STEP)

    def copy_elements(self, number: int) -> None:
        """For elements that a new array shares with the one that it is made from."""
        self._make(number * REFERENCE_BYTES)
        self.spend_steps(number // REFERENCES_PER_STEP)

    def _make(self, size: int, written: int | None = None) -> None:
        """`written` is the size as it counts towards the limit of a document; by default `size`."""
        if (size if written is None else written) > MAX_VALUE_BYTES:
            raise MqlError(
                f"An operator makes a value of more than {MAX_VALUE_BYTES >> 20} MB, which no document could hold. "
                "Let it make less."
            )
        self.spend_bytes(size)

    def size_of(self, value: Any, most: int) -> int:
        """About how many bytes a value has, or `most + 1` when it has more than `most`. What occurs in it twice counts twice,
        as it would when written."""
        size = 0
        level = [value]
        for _ in range(MAX_VALUE_DEPTH):
            size += len(level) * REFERENCE_BYTES
            self.spend_steps(len(level))
            inner: list[Any] = []
            for item in level:
                if isinstance(item, str | bytes):
                    size += len(item)
                elif isinstance(item, list):
                    inner += item
                elif isinstance(item, dict):
                    size += sum(map(len, item))
                    inner += item.values()
                if size + len(inner) * REFERENCE_BYTES > most:
                    return most + 1
            if not inner:
                return size
            level = inner
        raise MqlError(f"A value is nested more than {MAX_VALUE_DEPTH} deep. Let the mapping nest it less.")
