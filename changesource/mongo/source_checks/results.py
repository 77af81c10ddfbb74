"""The input and the result of a check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["ok", "unknown", "warning", "error"]
"""`unknown`: the check could not find out, for the reason in the text."""

SEVERITY: Sequence[Status] = ("ok", "unknown", "warning", "error")


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of one check. Nothing in it holds a URI, a host, a user or a document.

    `name` is the same in every run, for scripts. `text` says what was found and what it means, and
    `remedy` what to do. `values` are the measurements.
    """

    name: str
    status: Status
    text: str
    remedy: str = ""
    values: Mapping[str, float | int | str | bool] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "status": self.status,
            "text": self.text,
            "remedy": self.remedy,
            "values": dict(self.values),
        }


@dataclass(frozen=True, slots=True)
class PublishedCollection:
    """A collection that a published version reads. `unwinding` are its tables that need pre-images."""

    app_id: str
    name: str
    tables: Sequence[str]
    unwinding: Sequence[str] = ()


def worst_status(results: Sequence[CheckResult]) -> Status:
    return max((result.status for result in results), key=SEVERITY.index, default="ok")
