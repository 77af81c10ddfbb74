"""What is wrong with a pipeline or a filter, or with what it makes of one document."""

from __future__ import annotations

from typing import ClassVar


class MqlError(Exception):
    """A pipeline or a filter is not MongoDB's language, needs other documents, or cannot be computed for a document.

    `place` says where: ("pipeline[1]", "$addFields", "name"). Messages hold no content of a document.
    """

    code: ClassVar[str] = "CS203"
    """The catalogue of this project's errors (`changesource.errors`) lists it under this code."""

    def __init__(self, message: str, place: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.place = place

    def within(self, *steps: str) -> MqlError:
        """The same error, seen from `steps` further out."""
        return MqlError(self.message, (*steps, *self.place))

    @property
    def reason(self) -> str:
        """The place and the message, without the code."""
        return f"{'.'.join(self.place)}: {self.message}" if self.place else self.message

    def __str__(self) -> str:
        return f"{self.code}: {self.reason}"
