"""Reads replicas, validates frames, applies permissions and builds queries with Zero's own code, in one Node process for all
tests."""

import atexit
import base64
import json
import subprocess
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zerosources.embedded.node import ensure_packages, node_environment, node_executable

SCRIPT_DIR = Path(__file__).parent

TIMEOUT_SECONDS = 120


class ToolError(Exception):
    """zero-cache's code failed. The message holds what it said."""


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
    meta, *lines = _ask_about_replica("read_replica", file=str(path), tables=list(tables))
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
    return _ask_about_replica("query_replica", file=str(path), sql=sql, parameters=parameters)


def validate_frames(frames: Iterable[str]) -> list[str]:
    """What zero-cache would say to each frame that it cannot read: "frame 3: …". Empty if all are good.

    Raises:
        ToolError: the validator itself failed.
    """
    answers = _tools.ask("validate_frames", frames=list(frames))
    return [f"frame {answer['index'] + 1}: {answer['error']}" for answer in answers]


def evaluate_permissions(cases: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What zero-cache shows in each case; evaluate_permissions.mjs says how a case and an answer look.

    Raises:
        ToolError: zero-cache's code failed.
    """
    return _tools.ask("evaluate_permissions", cases=cases)


def run_queries(module: Path, cases: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the functions of exported queries build; run_queries.mjs says how a case and an answer look.

    Raises:
        ToolError: the module could not be loaded.
    """
    return _tools.ask("run_queries", module=str(module), cases=cases)


def build_queries(cases: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What ZQL's own builder makes of each case; build_query.mjs says how a case and an answer look.

    Raises:
        ToolError: the code failed, or it was given an AST that zero-cache could not read.
    """
    return _tools.ask("build_query", cases=cases)


def handle_query_requests(**asked: Any) -> list[dict[str, Any]]:
    """What @rocicorp/zero answers; handle_query_request.mjs says what is asked, and how the answers look.

    Raises:
        ToolError: the code failed, or it was given an answer that zero-cache could not read.
    """
    return _tools.ask("handle_query_request", **asked)


def hydrate_asts(cases: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What zero-cache syncs in each case; hydrate_asts.mjs says how a case and an answer look.

    Raises:
        ToolError: zero-cache's code failed.
    """
    return _tools.ask("hydrate_asts", cases=cases)


def _ask_about_replica(tool: str, **request: Any) -> list[dict[str, Any]]:
    try:
        return _tools.ask(tool, **request)
    except ToolError as error:
        raise ReplicaError(str(error)) from error


class _Tools:
    """The Node process. It starts with the first question, and ends when this process does, however that ends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def ask(self, tool: str, **request: Any) -> list[dict[str, Any]]:
        """What the tool says. Raises `ToolError` with what went wrong in it."""
        with self._lock:
            process = self._running()
            assert process.stdin is not None
            assert process.stdout is not None
            limit = threading.Timer(TIMEOUT_SECONDS, process.kill)
            limit.start()
            try:
                process.stdin.write(json.dumps({"tool": tool, **request}) + "\n")
                process.stdin.flush()
                answers: list[dict[str, Any]] = []
                # By "\n" alone: others that separate lines may stand in JSON.
                for line in process.stdout:
                    answer = json.loads(line, object_hook=unmarked)
                    if "$end" in answer:
                        break
                    answers.append(answer)
                else:
                    raise RuntimeError(f"{tool}.mjs has ended with status {process.wait()}.")
            finally:
                limit.cancel()
        if answer["$end"] is not None:
            raise ToolError(answer["$end"])
        return answers

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [str(node_executable()), str(SCRIPT_DIR / "tools.mjs")],
                env={**node_environment(), "ZERO_NODE_MODULES": str(ensure_packages())},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                encoding="utf-8",
            )
            atexit.register(self._process.communicate)
        return self._process


_tools = _Tools()


def unmarked(value: dict[str, Any]) -> Any:
    """A marked value of tools.mjs as Python has it."""
    match value:
        case {"$int64": number}:
            return int(number)
        case {"$base64": text}:
            return base64.b64decode(text)
        case _:
            return value
