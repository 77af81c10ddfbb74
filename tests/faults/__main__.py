"""`python -m tests.faults --seconds N --seed N [--replay FILE]`: the oracle by hand. See `oracle.py`."""

import argparse
import tempfile
import time
from pathlib import Path

from tests.faults.faults import FAULTS
from tests.faults.oracle import Mismatch, replay, run
from zerosources.embedded import EMBEDDED_DIR


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--rate", type=float, default=150, help="operations a second")
    parser.add_argument("--replay", type=Path, help="a recording: do what it says")
    parser.add_argument("--faults", nargs="*", default=list(FAULTS), choices=list(FAULTS), metavar="FAULT")
    chosen = parser.parse_args()
    faults = [FAULTS[name] for name in chosen.faults]
    EMBEDDED_DIR.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=EMBEDDED_DIR, prefix="oracle-"))
    print(f"seed {chosen.seed}, in {folder}", flush=True)
    try:
        if chosen.replay:
            counts = replay(folder, chosen.replay, rate=chosen.rate)
        else:
            counts = run(
                folder,
                seconds=chosen.seconds,
                seed=chosen.seed,
                faults=faults,
                rate=chosen.rate,
            )
    except Mismatch as mismatch:
        print(mismatch)
        return 1
    print(counts)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
