"""A recording says what was done, and can be done again."""

from itertools import islice
from pathlib import Path

from tests.faults.operations import Operations
from tests.faults.recording import KEPT_ROUNDS, Recording, read_recording


def test_what_was_recorded_is_read_again(tmp_path: Path) -> None:
    """Operations with every kind of value, faults in their places, and what MongoDB held before."""
    operations = {writer: list(islice(Operations(5, writer), 300)) for writer in (0, 1)}
    with Recording(tmp_path / "recording") as recording:
        recording.begin_round(1, {"users": [{"_id": "first"}]})
        for number in range(300):
            for writer in (0, 1):
                recording.operation(writer, operations[writer][number])
            if number == 99:
                recording.fault("Redis killed")
        lines = list(recording.lines())
    state, [recorded] = read_recording(lines)
    assert state == {"users": [{"_id": "first"}]}
    assert recorded.operations == operations
    assert recorded.faults == [(200, "Redis killed")]


def test_only_the_last_rounds_are_kept(tmp_path: Path) -> None:
    """However long a run is, its recording is short and begins with what was there."""
    with Recording(tmp_path / "recording") as recording:
        for number in range(1, 20):
            recording.begin_round(number, {"users": [{"_id": number}]})
            recording.fault(f"fault {number}")
        state, rounds = read_recording(list(recording.lines()))
    assert [[name for _, name in recorded.faults] for recorded in rounds] == [
        [f"fault {number}"] for number in range(20 - KEPT_ROUNDS, 20)
    ]
    assert state == {"users": [{"_id": 20 - KEPT_ROUNDS}]}
    assert len(list((tmp_path / "recording").iterdir())) == KEPT_ROUNDS
