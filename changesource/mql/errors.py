"""What is wrong with a mapping, or with what one document makes of it."""

from __future__ import annotations

from changesource.errors import ChangeSourceError


class MappingError(ChangeSourceError):
    """A mapping is not MongoDB's language, needs other documents, or cannot be computed for a document.

    `place` is where in the mapping: ("pipeline[1]", "$addFields", "name"). Messages hold no content of a document.
    """

    code = "CS203"

    def __init__(self, message: str, place: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.place = place

    def within(self, *steps: str) -> MappingError:
        """The same error, seen from `steps` further out."""
        return MappingError(self.message, (*steps, *self.place))

    @property
    def reason(self) -> str:
        """Place and message, without the code."""
        return f"{'.'.join(self.place)}: {self.message}" if self.place else self.message

    def __str__(self) -> str:
        return f"{self.code}: {self.reason}"
