"""What a run of the oracle has done, and how it is told."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Counts:
    """
    Attributes:
        operations: sent; what one of them does may come to nothing.
        mutations: documents changed, and collections dropped, made, renamed or altered.
        interrupted: operations that ended with an error because MongoDB was away.
        stuck: how often zero-cache was started again because it was stuck, see `System.is_stuck`.
        leads: how often watchers began to lead while nothing was broken, at most within one barrier.
        ended: how often zero-cache ended by itself, as it does when its first snapshot breaks off.
        kinds: operations that changed something, by kind.
        faults: that took place, by name.
        missed: faults that found nothing to break, by name.
        settling_seconds: of each barrier, how long the replica took to be what MongoDB is.
    """

    seconds: float = 0.0
    operations: int = 0
    mutations: int = 0
    interrupted: int = 0
    mismatches: int = 0
    stuck: int = 0
    leads: int = 0
    ended: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    settling_seconds: list[float] = field(default_factory=list)

    @property
    def barriers(self) -> int:
        return len(self.settling_seconds)

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.seconds + other.seconds,
            self.operations + other.operations,
            self.mutations + other.mutations,
            self.interrupted + other.interrupted,
            self.mismatches + other.mismatches,
            self.stuck + other.stuck,
            max(self.leads, other.leads),
            self.ended + other.ended,
            self.kinds + other.kinds,
            self.faults + other.faults,
            self.missed + other.missed,
            self.settling_seconds + other.settling_seconds,
        )

    def table(self) -> str:
        """How often each kind of operation and each fault was."""
        lines = ["operations that changed something:"]
        lines += [f"{count:>8} {name}" for name, count in sorted(self.kinds.items())]
        lines += ["faults:"]
        for name in sorted({*self.faults, *self.missed}):
            missed = f" (and {self.missed[name]} that found nothing to break)" if self.missed[name] else ""
            lines.append(f"{self.faults[name]:>8} {name}{missed}")
        return "\n".join(lines)

    def __str__(self) -> str:
        slowest = max(self.settling_seconds, default=0.0)
        return (
            f"{self.seconds:.0f} s: {self.mutations} mutations by {self.operations} operations "
            f"({self.interrupted} interrupted), {self.faults.total()} faults of {len(self.faults)} kinds, "
            f"{self.barriers} barriers (settled within {slowest:.1f} s; zero-cache was stuck {self.stuck} times "
            f"and ended by itself {self.ended} times; at most {self.leads} watchers began to lead in one), "
            f"{self.mismatches} mismatches"
        )
