"""What the samples say: a table, and verdicts with their thresholds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from tests.soak.lag import Lag
from tests.soak.samples import ProcessUse, Sample
from tests.soak.trends import Trend, percentile, trend

HOUR = 3600.0
MINUTE = 60.0
ALLOWED_MEGABYTES_AN_HOUR = 20.0
"""At 500 writes a second some eleven bytes a write: anything that is kept for each write grows faster."""
ALLOWED_DESCRIPTORS_AN_HOUR = 12.0
"""Also for threads. One that is left behind every five minutes."""
ALLOWED_LOG_MEGABYTES = 256.0 + 16.0
"""What the log is trimmed to, and what comes in between two times that it is trimmed."""
ALLOWED_LAG_GROWTH = 1.5
"""From the first third to the last."""
UNNOTICED_LAG_MS = 100.0
"""A growth of less is the machine's."""
REACHED_RATE = 0.95


@dataclass(frozen=True)
class Verdict:
    """One thing that must hold, and what was found."""

    is_kept: bool
    text: str

    def __str__(self) -> str:
        return f"{'ok      ' if self.is_kept else 'BROKEN  '}{self.text}"


def table(samples: Sequence[Sample]) -> list[str]:
    """Lines of all processes, and of Redis."""
    lines = [
        f"{'':14}{'memory, MB':>22}{'MB/h':>18}{'descriptors':>14}{'/h':>16}{'threads':>10}{'/h':>16}{'cpu':>7}",
    ]
    for name in samples[0].processes:
        first, last = samples[0].processes[name], samples[-1].processes[name]
        used = (last.cpu_seconds - first.cpu_seconds) / (samples[-1].seconds - samples[0].seconds)
        memory, descriptors, threads = process_trends(samples, name)
        lines.append(
            f"{name:14}{first.megabytes:11.1f}{last.megabytes:11.1f}{text_of(memory):>18}"
            f"{first.descriptors:7}{last.descriptors:7}{text_of(descriptors):>16}"
            f"{first.threads:5}{last.threads:5}{text_of(threads):>16}{used:7.0%}"
        )
    for name, values in redis_values(samples).items():
        lines.append(
            f"{name:14}{values[0]:11.1f}{values[-1]:11.1f}{text_of(hourly(samples, values)):>18}"
            f"  at most {max(values):,.1f}"
        )
    return lines


def lag_table(lags: Mapping[str, Sequence[Lag]]) -> list[str]:
    """Lines of all minutes, with p50 and p99 of each place."""
    lines = [f"{'minute':>6}" + "".join(f"{f'{name}: p50, p99, ms':>28}" for name in lags)]
    rows = [lags_by_minute(of_place) for of_place in lags.values()]
    for minute in range(min(len(row) for row in rows)):
        cells = [[percentile(row[minute], fraction) * 1000 for fraction in (0.5, 0.99)] for row in rows]
        lines.append(f"{minute + 1:6}" + "".join(f"{p50:18.0f}{p99:10.0f}" for p50, p99 in cells))
    return lines


def verdicts(
    samples: Sequence[Sample],
    lags: Mapping[str, Sequence[Lag]],
    *,
    fractions: Mapping[str, float],
    ours: Sequence[str],
    rate: float,
    redis_max_megabytes: float,
) -> list[Verdict]:
    """All but whether the replicas are equal. `samples` and `lags`, by place, are those after the warm-up, `fractions` say by
    which percentile of the lags each place is judged, `ours` are the names of the processes that are judged, `rate` is writes
    a second that were asked for."""
    return [
        rate_verdict(samples, rate),
        *(verdict for name in ours for verdict in process_verdicts(samples, name)),
        *redis_verdicts(samples, redis_max_megabytes),
        *(lag_verdict(name, of_place, fractions[name]) for name, of_place in lags.items()),
    ]


def rate_verdict(samples: Sequence[Sample], rate: float) -> Verdict:
    reached = (samples[-1].writes - samples[0].writes) / (samples[-1].seconds - samples[0].seconds)
    return Verdict(reached >= REACHED_RATE * rate, f"{reached:.0f} writes/s of {rate:.0f}")


def process_verdicts(samples: Sequence[Sample], name: str) -> Iterator[Verdict]:
    limits = (ALLOWED_MEGABYTES_AN_HOUR, ALLOWED_DESCRIPTORS_AN_HOUR, ALLOWED_DESCRIPTORS_AN_HOUR)
    units = ("MB of memory", "descriptors", "threads")
    for unit, found, allowed in zip(units, process_trends(samples, name), limits, strict=True):
        text = f"{name}: {text_of(found)} {unit} an hour, up to {allowed:g} is flat"
        yield Verdict(not found.is_above(allowed), text)


def redis_verdicts(samples: Sequence[Sample], max_megabytes: float) -> Iterator[Verdict]:
    used = max(sample.redis.megabytes for sample in samples)
    yield Verdict(used < max_megabytes, f"Redis: at most {used:.1f} MB, its cap is {max_megabytes:.0f}")
    log = max(sample.redis.log_megabytes for sample in samples)
    length = max(sample.redis.log_length for sample in samples)
    trimmed = any(later.redis.log_length < earlier.redis.log_length for earlier, later in pairwise(samples))
    text = f"Redis: the log at most {log:.1f} MB of {ALLOWED_LOG_MEGABYTES:.0f} and {length:,} entries"
    yield Verdict(log <= ALLOWED_LOG_MEGABYTES, f"{text}, {'it was' if trimmed else 'never'} trimmed")


def lag_verdict(name: str, lags: Sequence[Lag], fraction: float) -> Verdict:
    """Whether this percentile of a minute, in the median minute, is in the last third what it was in the first."""
    minutes = [percentile(of_minute, fraction) * 1000 for of_minute in lags_by_minute(lags) if of_minute]
    third = max(1, len(minutes) // 3)
    first, last = median(minutes[:third]), median(minutes[-third:])
    is_kept = last <= max(first * ALLOWED_LAG_GROWTH, first + UNNOTICED_LAG_MS)
    text = f"{name}: lag p{fraction * 100:.0f} of a minute {first:.0f} ms in the first third, {last:.0f} ms in the last"
    whole = [lag.seconds for lag in lags]
    return Verdict(
        is_kept, f"{text}; p99 over all {percentile(whole, 0.99) * 1000:.0f} ms, at most {max(whole) * 1000:.0f} ms"
    )


def lags_by_minute(lags: Sequence[Lag]) -> list[list[float]]:
    """Seconds of the lags of each whole or begun minute since the first."""
    minutes: list[list[float]] = []
    for lag in lags:
        minute = int((lag.sent - lags[0].sent) // MINUTE)
        minutes += [[] for _ in range(minute + 1 - len(minutes))]
        minutes[minute].append(lag.seconds)
    return minutes


def process_trends(samples: Sequence[Sample], name: str) -> list[Trend]:
    """Of memory, descriptors and threads, an hour."""
    uses: list[ProcessUse] = [sample.processes[name] for sample in samples]
    columns = ([use.megabytes for use in uses], [use.descriptors for use in uses], [use.threads for use in uses])
    return [hourly(samples, column) for column in columns]


def redis_values(samples: Sequence[Sample]) -> dict[str, list[float]]:
    return {
        "redis, MB": [sample.redis.megabytes for sample in samples],
        "its log, MB": [sample.redis.log_megabytes for sample in samples],
        "log, entries": [float(sample.redis.log_length) for sample in samples],
    }


def hourly(samples: Sequence[Sample], values: Sequence[float]) -> Trend:
    return trend([sample.seconds / HOUR for sample in samples], values)


def text_of(found: Trend) -> str:
    return f"{found.slope:,.1f} ± {found.error:,.1f}"
