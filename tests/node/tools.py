"""Reads replicas and validates frames with zero-cache's own code."""

import base64
import json
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zerosources.embedded.node import ensure_packages, node_environment, node_executable

SCRIPT_DIR = Path(__file__).parent

TIMEOUT_SECONDS = 120


class ReplicaError(Exception):
    """The replica could not be read. The message holds what SQLite said."""


@dataclass(frozen=True)
class ReplicaContents:
    """What a replica holds at one moment.

    Attributes:
        replica_version: the watermark of its initial sync.
        watermark: of the last transaction that was applied.
        publications: the ones it was made with.
        rows: for each table, its rows as SQLite holds them, `_0_version` included: booleans are 0 and 1, JSON is text,
            times are milliseconds.
    """

    replica_version: str
    watermark: str
    publications: list[str]
    rows: dict[str, list[dict[str, Any]]]


def read_replica(path: Path, tables: Sequence[str] = ()) -> ReplicaContents:
    """Read these tables of a replica, or all but those of zero-cache itself.

    zero-cache may be writing to it meanwhile.

    Raises:
        ReplicaError: there is no replica there yet, or it has no such table.
    """
    done = run_node("read_replica.mjs", str(path), *tables)
    if done.returncode != 0:
        raise ReplicaError(done.stderr.strip())
    meta, *lines = json_lines(done.stdout)
    meta = meta["meta"]
    rows: dict[str, list[dict[str, Any]]] = {table: [] for table in meta["tables"]}
    for line in lines:
        rows[line["table"]].append(line["row"])
    return ReplicaContents(
        replica_version=meta["replicaVersion"],
        watermark=meta["stateVersion"],
        publications=json.loads(meta["publications"]),
        rows=rows,
    )


def indexes_of(path: Path, table: str) -> dict[str, list[str]]:
    """Columns of each index of a table of a replica, by its name."""
    sql = "SELECT l.name, i.name AS col FROM pragma_index_list(?) l JOIN pragma_index_info(l.name) i ORDER BY l.name, i.seqno"
    indexes: dict[str, list[str]] = {}
    for row in query_replica(path, sql, table):
        indexes.setdefault(row["name"], []).append(row["col"])
    return indexes


def query_replica(path: Path, sql: str, *parameters: str) -> list[dict[str, Any]]:
    """The rows that SQLite gives, `sql` being one statement that changes nothing.

    Raises:
        ReplicaError: there is no replica there yet, or the statement is refused.
    """
    done = run_node("query_replica.mjs", str(path), sql, *parameters)
    if done.returncode != 0:
        raise ReplicaError(done.stderr.strip())
    return json_lines(done.stdout)


def validate_frames(frames: Iterable[str]) -> list[str]:
    """What zero-cache would say to each frame that it cannot read: "frame 3: …". Empty if all are good.

    Raises:
        RuntimeError: the validator itself failed.
    """
    # A line break inside a frame can only be white space between tokens: in a JSON string it is escaped.
    text = "".join(frame.replace("\r", " ").replace("\n", " ") + "\n" for frame in frames)
    done = run_node("validate_frames.mjs", input_text=text)
    if done.returncode not in (0, 1) or not done.stdout:
        raise RuntimeError(f"validate_frames.mjs ended with status {done.returncode}:\n{done.stderr}")
    *errors, summary = json_lines(done.stdout)
    assert summary["bad"] == len(errors)
    return [f"frame {error['line']}: {error['error']}" for error in errors]


def run_node(script: str, *arguments: str, input_text: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(node_executable()), str(SCRIPT_DIR / script), *arguments],
        env={**node_environment(), "ZERO_NODE_MODULES": str(ensure_packages())},
        input=input_text,
        capture_output=True,
        encoding="utf-8",
        timeout=TIMEOUT_SECONDS,
        check=False,
    )


def json_lines(text: str) -> list[dict[str, Any]]:
    # Not str.splitlines, which also splits at U+2028 and others that may stand in JSON.
    return [json.loads(line, object_hook=unmarked) for line in text.split("\n") if line]


def unmarked(value: dict[str, Any]) -> Any:
    """A marked value of read_replica.mjs as Python has it."""
    match value:
        case {"$int64": number}:
            return int(number)
        case {"$base64": text}:
            return base64.b64decode(text)
        case _:
            return value
