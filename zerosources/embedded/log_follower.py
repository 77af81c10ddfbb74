"""The new lines of a log file."""

from pathlib import Path


class LogFollower:
    """Reads a log file that grows, from its beginning, and returns each line once, when it is complete."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0

    def new_lines(self) -> list[str]:
        """Returns the lines that were completed since the last call. There are none while the file does not exist."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as log:
            log.seek(self._position)
            complete = log.read().rpartition(b"\n")[0]
        if not complete:
            return []
        self._position += len(complete) + 1
        return complete.decode(errors="replace").split("\n")
