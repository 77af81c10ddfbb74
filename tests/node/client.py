"""Clients of zero-cache: @rocicorp/zero itself, each in a Node process of its own."""

import base64
import hashlib
import hmac
import json
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.node.tools import SCRIPT_DIR
from zerosources.embedded.node import ensure_packages, node_environment, node_executable

WAIT_SECONDS = 60
STOP_SECONDS = 20

Event = dict[str, Any]
Row = dict[str, Any]


def signed_token(secret: str, user_id: str, **claims: Any) -> str:
    """A JWT of `user_id` as zero-cache takes it with ZERO_AUTH_SECRET (HS256)."""
    payload = {"sub": user_id, "exp": int(time.time()) + 3600, **claims}
    parts = [_base64url(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, payload)]
    signature = hmac.new(secret.encode(), ".".join(parts).encode(), hashlib.sha256).digest()
    return ".".join([*parts, _base64url(signature)])


def _base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


class ZeroClient:
    """A client that connects when it is entered and is closed when it is left.

    Args:
        url: of zero-cache.
        schema: in Zero's JSON form.
        log_path: what the client itself logs.
        user_id, auth: who it says that it is, and the JWT that says so.
    """

    def __init__(
        self,
        url: str,
        schema: Mapping[str, Any],
        log_path: Path,
        *,
        user_id: str | None = None,
        auth: str | None = None,
    ) -> None:
        self._connect = {"server": url, "schema": schema, "userID": user_id, "auth": auth}
        self._log_path = log_path
        self._events: list[Event] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, name="zero client")

    def __enter__(self) -> "ZeroClient":
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [str(node_executable()), str(SCRIPT_DIR / "client.mjs")],
                env={**node_environment(), "ZERO_NODE_MODULES": str(ensure_packages())},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                encoding="utf-8",
            )
        self._reader.start()
        self._send(connect={name: value for name, value in self._connect.items() if value is not None})
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if not self._process.stdin.closed:
            self._process.stdin.close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        self._process.stdout.close()

    def watch(self, name: str, table: str, *calls: Sequence[Any]) -> None:
        """Adds the query `table.METHOD(ARGUMENT, …)…`, each of `calls` being a method and its arguments."""
        self._send(watch=name, table=table, calls=calls)

    def watch_named(self, name: str, query: str, args: Sequence[Any], table: str, *calls: Sequence[Any]) -> None:
        """Adds the named query. The client's own copy of it is `table.METHOD(ARGUMENT, …)…`."""
        self._send(watch=name, named=query, args=args, table=table, calls=calls)

    def connect_again(self) -> None:
        """Connects, also from a state that the client does not leave by itself."""
        self._send(connectAgain=True)

    def forget(self, name: str) -> None:
        """Takes the query away."""
        self._send(forget=name)

    def login(self, token: str) -> None:
        """Connects again with another token."""
        self._send(login=token)

    @property
    def events(self) -> list[Event]:
        """All that has happened."""
        with self._changed:
            return list(self._events)

    @property
    def states(self) -> list[str]:
        """The names of the states of the connection so far."""
        return [event["name"] for event in self.events if event["event"] == "state"]

    def rows(self, name: str) -> list[Row] | None:
        """The rows that the query has now; None before zero-cache has answered it."""
        for event in reversed(self.events):
            if event["event"] == "rows" and event["query"] == name:
                return list(event["rows"]) if event["type"] == "complete" else None
        return None

    def history(self, name: str) -> list[list[Row]]:
        """The rows that the query has had since zero-cache answered it."""
        return [
            event["rows"]
            for event in self.events
            if event["event"] == "rows" and event["query"] == name and event["type"] == "complete"
        ]

    def wait_for_rows(
        self, name: str, are_right: Callable[[list[Row]], object] = lambda rows: True, timeout: float = WAIT_SECONDS
    ) -> list[Row]:
        """The rows of the query as soon as it is answered and `are_right` says yes to them."""

        def right_rows() -> list[Row] | None:
            rows = self.rows(name)
            return rows if rows is not None and are_right(rows) else None

        return self._wait_for(right_rows, f"rows of {name}", timeout)

    def wait_for_event(self, kind: str, timeout: float = WAIT_SECONDS, **members: Any) -> Event:
        """The first event of this kind with these members."""

        def found() -> Event | None:
            wanted = {"event": kind, **members}
            return next((event for event in self.events if wanted.items() <= event.items()), None)

        return self._wait_for(found, f"{kind} {members}", timeout)

    def _wait_for(self, found: Callable[[], Any], what: str, timeout: float) -> Any:
        deadline = time.monotonic() + timeout
        with self._changed:
            while (result := found()) is None:
                remaining = deadline - time.monotonic()
                assert remaining > 0, f"Not within {timeout} s: {what}. {self._described()}"
                assert self._process.poll() is None, f"The client has ended: {what}. {self._described()}"
                self._changed.wait(min(remaining, 1))
        return result

    def _described(self) -> str:
        last = [json.dumps(event, ensure_ascii=False)[:500] for event in self._events[-8:]]
        log = self._log_path.read_text(errors="replace")[-2000:]
        return "\n".join(["Last events:", *last, "Log:", log])

    def _send(self, **command: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._changed:
                self._events.append(json.loads(line))
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()
