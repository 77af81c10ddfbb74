"""What a run did, in a text file with one JSON object a line, to be done again.

    {"state": {collection: [documents]}}
    {"round": 3, "writer": 1, "kind": "update", "transaction": false, "commands": [MongoDB commands]}
    {"round": 3, "fault": "…"}

In the order in which it happened, in Extended JSON. The first line is what MongoDB held before the first round that is there.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bson import json_util
from bson.codec_options import DatetimeConversion

from tests.faults.operations import Operation

JSON_OPTIONS = json_util.CANONICAL_JSON_OPTIONS.with_options(datetime_conversion=DatetimeConversion.DATETIME_MS)

KEPT_ROUNDS = 4
"""What came before has been found right at as many barriers."""

State = Mapping[str, Sequence[Mapping[str, Any]]]


class Recording:
    """Keeps the last rounds of a run below `folder`, a file each, written at once: they are there whatever ends it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._lock = threading.Lock()
        self._round = 0
        self._file = self._open()

    def begin_round(self, number: int, state: State) -> None:
        """What follows belongs to the round with this number, before which MongoDB holds `state`."""
        with self._lock:
            self._file.close()
            self._round = number
            self._file = self._open()
            for path in self._paths()[:-KEPT_ROUNDS]:
                path.unlink()
        self._write({"state": state})

    def operation(self, writer: int, operation: Operation) -> None:
        self._write(
            {
                "round": self._round,
                "writer": writer,
                "kind": operation.kind,
                "transaction": operation.is_transaction,
                "commands": operation.commands,
            }
        )

    def fault(self, name: str) -> None:
        self._write({"round": self._round, "fault": name})

    def lines(self) -> Iterator[str]:
        """All that is kept, as one recording."""
        is_first = True
        for path in self._paths():
            with path.open(encoding="utf-8") as file:
                for line in file:
                    if is_first or not is_state(line):
                        yield line
                    is_first = False

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def _open(self) -> Any:
        return (self._folder / f"round-{self._round:06}.ndjson").open("w", encoding="utf-8", buffering=1)

    def _paths(self) -> list[Path]:
        return sorted(self._folder.glob("round-*.ndjson"))

    def _write(self, line: Mapping[str, Any]) -> None:
        # Extended JSON keeps the order of fields, of which a command's first one is its name.
        text = json_util.dumps(line, json_options=JSON_OPTIONS)
        with self._lock:
            self._file.write(f"{text}\n")


@dataclass
class RecordedRound:
    """What a recording says of one round.

    Attributes:
        operations: by writer.
        faults: names, each with how many operations were there before it.
    """

    operations: dict[int, list[Operation]] = field(default_factory=lambda: defaultdict(list))
    faults: list[tuple[int, str]] = field(default_factory=list)


def read_recording(lines: Sequence[str]) -> tuple[State, list[RecordedRound]]:
    """The state before the first round of a recording, and its rounds in order."""
    state: State = {}
    rounds: dict[int, RecordedRound] = defaultdict(RecordedRound)
    for line in lines:
        stored = json_util.loads(line, json_options=JSON_OPTIONS)
        if "state" in stored:
            state = stored["state"]
            continue
        found = rounds[int(stored["round"])]
        if "fault" in stored:
            found.faults.append((sum(len(operations) for operations in found.operations.values()), stored["fault"]))
        else:
            operation = Operation(stored["kind"], stored["commands"], stored["transaction"])
            found.operations[int(stored["writer"])].append(operation)
    return state, [rounds[number] for number in sorted(rounds)]


def is_state(line: str) -> bool:
    return line.startswith('{"state"')
