"""New lines of a log file."""

from pathlib import Path


class LogFollower:
    """Gives the lines that come to a log file, from its beginning, each once and only when it is complete."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0

    def new_lines(self) -> list[str]:
        """The lines that have been completed since the last call. None as long as there is no file."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as log:
            log.seek(self._position)
            complete = log.read().rpartition(b"\n")[0]
        if not complete:
            return []
        self._position += len(complete) + 1
        return complete.decode(errors="replace").split("\n")
