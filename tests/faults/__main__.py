"""The oracle by hand, as `make oracle` runs it: `python -m tests.faults --seconds 3600 --seed 1 2 3`. See `oracle.py`."""

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.faults.artefacts import Kept
from tests.faults.counts import Counts
from tests.faults.faults import FAULTS
from tests.faults.oracle import FAULT_SECONDS, RATE, Mismatch, replay, run
from tests.faults.recording import is_state
from tests.faults.shrinking import shrink
from zerosources.embedded import EMBEDDED_DIR


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="in all: seeds share them")
    parser.add_argument("--seed", type=int, nargs="+", default=[int(time.time())])
    parser.add_argument("--rate", type=float, default=RATE, help="operations a second, at most")
    parser.add_argument("--fault-seconds", type=float, default=FAULT_SECONDS, help="from one fault to the next")
    parser.add_argument("--replay", type=Path, help="a recording: do what it says")
    parser.add_argument(
        "--shrink", type=Path, help="a recording that fails: write a smaller one that does, to FILE.smaller"
    )
    parser.add_argument("--attempts", type=int, default=40, help="of --shrink")
    parser.add_argument("--keep", action="store_true", help="recording, logs and replica also of what does not fail")
    parser.add_argument("--faults", nargs="*", default=list(FAULTS), choices=list(FAULTS), metavar="FAULT")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, end_everything)
    try:
        if chosen.shrink:
            make_smaller(chosen.shrink, chosen.rate, chosen.attempts)
        elif chosen.replay:
            lines = read_lines(chosen.replay)
            print(in_a_folder(lambda folder: replay(folder, lines, rate=chosen.rate)))
        else:
            run_seeds(chosen)
    except Mismatch as mismatch:
        print(f"FAILED\n{mismatch}")
        return 1
    return 0


def end_everything(number: int, frame: object) -> None:
    """As with Ctrl-C, what was started is ended, whatever else is sent meanwhile: `timeout` signals twice."""
    signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + number)


def run_seeds(chosen: argparse.Namespace) -> None:
    total = Counts()
    for seed in chosen.seed:

        def tell(counts: Counts, seed: int = seed) -> None:
            print(f"seed {seed}: {counts}", flush=True)

        def run_seed(folder: Path, seed: int = seed, tell: Callable[[Counts], None] = tell) -> Counts:
            return run(
                folder,
                seconds=chosen.seconds / len(chosen.seed),
                seed=seed,
                faults=[FAULTS[name] for name in chosen.faults],
                rate=chosen.rate,
                fault_seconds=chosen.fault_seconds,
                tell=tell,
                keeps=Kept.ALWAYS if chosen.keep else Kept.OF_FAILURES,
            )

        counts = in_a_folder(run_seed)
        print(counts.table(), flush=True)
        total += counts
    if len(chosen.seed) > 1:
        print(f"\nAll seeds together:\n{total.table()}")
    print(f"{total}, seeds {', '.join(map(str, chosen.seed))}")


def make_smaller(path: Path, rate: float, attempts: int) -> None:
    """By replaying parts of the recording at `path`. One that fails by chance only needs luck.

    The smallest part so far is written at once, so that it may be interrupted.
    """
    lines = read_lines(path)
    smaller = path.with_suffix(f"{path.suffix}.smaller")
    state, events = [line for line in lines if is_state(line)], [line for line in lines if not is_state(line)]

    def fails(part: Sequence[str]) -> bool:
        try:
            in_a_folder(lambda folder: replay(folder, [*state, *part], rate=rate, keeps=Kept.NEVER))
        except Mismatch:
            smaller.write_text("".join([*state, *part]), encoding="utf-8")
            print(f"{len(part)} of {len(events)} lines: fails", flush=True)
            return True
        print(f"{len(part)} of {len(events)} lines: passes", flush=True)
        return False

    smallest = shrink(events, fails, attempts=attempts)
    if len(smallest) < len(events):
        print(f"The smallest that has failed, of {len(smallest)} lines, is {smaller}.")
    else:
        print("No part of it has failed.")


def read_lines(path: Path) -> list[str]:
    with path.open(encoding="utf-8") as file:
        return list(file)


def in_a_folder(work: Callable[[Path], Counts]) -> Counts:
    """A folder for the servers of a run, which goes when it has ended. What is kept of one that fails is elsewhere."""
    EMBEDDED_DIR.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=EMBEDDED_DIR, prefix="oracle-"))
    try:
        return work(folder)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    raise SystemExit(main())
