"""`python -m tests.soak --seconds N --rate N`: a steady load on the whole system, and whether anything grows meanwhile.

Two watchers, two servers of the stream and two zero-caches. What was measured is in test-artefacts/soak.csv and
test-artefacts/soak-lags.csv. The exit status is 1 if a verdict is broken; the servers' logs are left then.
"""

import argparse
import csv
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.embedded.waiting import wait_until
from tests.soak.lag import Lag, LagMeter, Pulse, ReplicaLag, StreamLag
from tests.soak.report import Verdict, lag_table, table, verdicts
from tests.soak.samples import MEGABYTE, Sample, Sampler
from tests.soak.system import PULSES, REDIS_MAX_BYTES, SoakSystem
from tests.soak.trends import percentile
from tests.soak.writer import SteadyWriters
from zerosources.embedded import EMBEDDED_DIR

ARTEFACTS = Path(__file__).resolve().parent.parent.parent / "test-artefacts"
SAMPLE_SECONDS = 5.0
PROGRESS_SECONDS = 60.0
WARM_UP_SECONDS = 300.0
WARM_UP_FRACTION = 0.2
"""Of the run, when that is shorter: caches fill, and the interpreter's heap gets its size."""
DRAIN_SECONDS = 120.0
"""How long the last write may take to arrive."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1800)
    parser.add_argument("--rate", type=float, default=500, help="writes a second")
    chosen = parser.parse_args()
    EMBEDDED_DIR.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=EMBEDDED_DIR, prefix="soak-"))
    print(f"in {folder}", flush=True)
    with SoakSystem(folder) as system:
        found = run(system, chosen.seconds, chosen.rate)
    for verdict in found:
        print(verdict)
    if any(not verdict.is_kept for verdict in found):
        return 1
    shutil.rmtree(folder)
    return 0


def run(system: SoakSystem, seconds: float, rate: float) -> list[Verdict]:
    """Writes for so long, and what is to be said about it. Prints tables."""
    pulse = Pulse(system.database[PULSES])
    writers = SteadyWriters(system.database, rate)
    with ExitStack() as meters_stack:
        with pulse, writers:
            system.start_zero_caches()
            meters: list[LagMeter] = [
                StreamLag("stream", pulse, system.stream_url),
                *(ReplicaLag(f"replica {number}", pulse, each) for number, each in enumerate(system.zero_caches)),
            ]
            for meter in meters:
                meters_stack.enter_context(meter)
            with Sampler(ARTEFACTS / "soak.csv", system, writers, meters) as sampler:
                samples = take_samples(system, writers, sampler, meters, seconds)
        drain(pulse, meters)
    warm_up = min(WARM_UP_SECONDS, seconds * WARM_UP_FRACTION)
    steady = [sample for sample in samples if sample.seconds >= warm_up]
    lags = {meter.name: [lag for lag in meter.lags if lag.sent >= sampler.started + warm_up] for meter in meters}
    write_lags(ARTEFACTS / "soak-lags.csv", lags)
    print(f"\nAfter {warm_up:.0f} s of warm-up:", *table(steady), "", *lag_table(lags), "", sep="\n")
    judged = verdicts(
        steady,
        lags,
        fractions={meter.name: meter.fraction for meter in meters},
        ours=list(system.ours),
        rate=rate,
        redis_max_megabytes=REDIS_MAX_BYTES / MEGABYTE,
    )
    return [*judged, *(equality(system, number) for number in range(len(system.zero_caches)))]


def take_samples(
    system: SoakSystem, writers: SteadyWriters, sampler: Sampler, meters: Sequence[LagMeter], seconds: float
) -> list[Sample]:
    """Samples of so long a time, or until a writer has failed. Prints a line a minute."""
    started = time.monotonic()
    reported, of_report = started, sampler.take()
    while writers.are_writing and time.monotonic() - started < seconds:
        time.sleep(SAMPLE_SECONDS)
        system.check_running()
        sample = sampler.take()
        if time.monotonic() - reported >= PROGRESS_SECONDS:
            print(progress(of_report, sample, meters), flush=True)
            reported, of_report = time.monotonic(), sample
    return sampler.samples


def progress(earlier: Sample, sample: Sample, meters: Sequence[LagMeter]) -> str:
    """What the time between two samples was like, in a line."""
    seconds = sample.seconds - earlier.seconds
    parts = [f"{sample.seconds:6.0f} s: {(sample.writes - earlier.writes) / seconds:4.0f} writes/s"]
    for meter in meters:
        lags = meter.since(time.time() - seconds)
        parts.append(f"{meter.name} {percentile(lags, 0.5) * 1000:.0f}, p99 {percentile(lags, 0.99) * 1000:.0f} ms")
    for name, use in sample.processes.items():
        cpu = (use.cpu_seconds - earlier.processes[name].cpu_seconds) / seconds
        parts.append(f"{name} {use.megabytes:.0f} MB {cpu:.0%}")
    parts.append(f"log {sample.redis.log_megabytes:.0f} MB")
    return ", ".join(parts)


def drain(pulse: Pulse, meters: Sequence[LagMeter]) -> None:
    """Waits until the last pulse is everywhere. Prints how long that took."""
    started = time.monotonic()
    last = len(pulse.sent) - 1
    wait_until(lambda: all(meter.last_seen == last for meter in meters), DRAIN_SECONDS)
    print(f"\nThe last write was everywhere after {time.monotonic() - started:.1f} s.")


def write_lags(path: Path, lags: Mapping[str, Sequence[Lag]]) -> None:
    """One line for each pulse and place."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["where", "sent", "lag ms"])
        for name, of_place in lags.items():
            rows.writerows([name, f"{lag.sent:.3f}", f"{lag.seconds * 1000:.1f}"] for lag in of_place)


def equality(system: SoakSystem, number: int) -> Verdict:
    """Whether a replica holds what MongoDB holds, now that nobody writes."""
    try:
        contents = system.deployment.wait_until_equal(system.zero_caches[number])
    except AssertionError as error:
        return Verdict(False, f"replica {number}: {error}")
    rows = sum(len(of_table) for of_table in contents.rows.values())
    return Verdict(True, f"replica {number} equals MongoDB, with {rows:,} rows")


if __name__ == "__main__":
    raise SystemExit(main())
