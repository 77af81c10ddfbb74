"""`make fuzz`: runs each target for some time, from its seeds, its findings and what earlier runs found interesting."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

from zerosources.embedded import EMBEDDED_DIR

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent.parent
CORPORA = EMBEDDED_DIR / "fuzzing"
ARTEFACTS = ROOT / "test-artefacts" / "fuzzing"
TARGETS = tuple(sorted(path.name for path in (FOLDER / "seeds").iterdir()))

MAX_INPUT_BYTES = 4096
INPUT_SECONDS = 30
"""An input that takes longer counts as one that never ends."""
MAX_MEMORY_MB = 2048
SUMMARY = re.compile(r"Done (\d+) runs in (\d+) second")


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"{', '.join(TARGETS)}; all of them by default")
    parser.add_argument("--seconds", type=int, default=600, help="for each target")
    arguments = parser.parse_args()
    if unknown := set(arguments.targets) - {*TARGETS}:
        parser.error(f"there is no target {', '.join(sorted(unknown))}: choose from {', '.join(TARGETS)}")
    outcomes = [fuzz(target, arguments.seconds) for target in arguments.targets or TARGETS]
    return 0 if all(outcomes) else 1


def fuzz(target: str, seconds: int) -> bool:
    """Whether nothing was found. Prints what happened."""
    found, corpus, log = ARTEFACTS / target, CORPORA / target, ARTEFACTS / f"{target}.log"
    for folder in (found, corpus):
        folder.mkdir(parents=True, exist_ok=True)
    kept = [str(path) for kind in ("seeds", "findings") if (path := FOLDER / kind / target).is_dir()]
    dictionary = FOLDER / "dictionaries" / f"{target}.dict"
    command = [
        *(sys.executable, "-m", "tests.fuzzing.run_target", target, str(corpus), *kept),
        f"-max_total_time={seconds}",
        f"-max_len={MAX_INPUT_BYTES}",
        f"-timeout={INPUT_SECONDS}",
        f"-rss_limit_mb={MAX_MEMORY_MB}",
        f"-artifact_prefix={found}/",
        *([f"-dict={dictionary}"] if dictionary.exists() else []),
    ]
    print(f"{target}: {seconds} seconds …", flush=True)
    with log.open("w") as output:
        status = subprocess.call(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
    said = log.read_text(errors="replace")
    if status == 0 and (summary := SUMMARY.search(said)):
        print(f"{target}: nothing found in {int(summary[1]):,} executions, {summary[2]} seconds.")
        return True
    print(said[max(0, said.find("=== Uncaught Python exception")) :][-4000:])
    print(f"{target}: an input failed (status {status}). It is in {os.path.relpath(found, ROOT)}/, the log beside it.")
    print(f"Once it is mended, copy it to {os.path.relpath(FOLDER / 'findings' / target, ROOT)}/ under a name.")
    return False


if __name__ == "__main__":
    sys.exit(main())
