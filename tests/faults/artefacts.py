"""What is kept of a run that has failed: enough to see why, and to do it again."""

import shutil
import time
from enum import Enum, auto
from pathlib import Path

from tests.faults.recording import Recording
from tests.faults.system import System


class Kept(Enum):
    """Of which runs something is kept."""

    NEVER = auto()
    OF_FAILURES = auto()
    ALWAYS = auto()


FOLDER = Path(__file__).parents[2] / "test-artefacts" / "oracle"
KEPT_RUNS = 6
LOG_BYTES = 4_000_000
"""Of the end of each log."""


def keep(system: System, recording: Recording, name: str, report: str) -> Path:
    """The folder that holds the recording, `report`, the end of all logs, the last frames that zero-cache was sent, and its
    replica."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for folder in sorted(FOLDER.iterdir(), key=lambda folder: folder.stat().st_mtime)[: 1 - KEPT_RUNS]:
        shutil.rmtree(folder)
    kept = FOLDER / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    kept.mkdir()
    (kept / "report.txt").write_text(f"{report}\n", encoding="utf-8")
    with (kept / "recording.ndjson").open("w", encoding="utf-8") as file:
        file.writelines(recording.lines())
    (kept / "frames.ndjson").write_text("".join(f"{frame}\n" for frame in system.latest_frames()), encoding="utf-8")
    for path in system.folder.rglob("*.log"):
        (kept / f"{path.parent.name}.log").write_bytes(end_of(path))
    replica = system.zero_cache.replica_path
    for path in replica.parent.glob(f"{replica.name}*"):
        shutil.copy(path, kept)
    return kept


def end_of(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - LOG_BYTES))
        return file.read()
