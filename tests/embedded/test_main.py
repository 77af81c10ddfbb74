"""`python -m zerosources.embedded`, which `make run` is."""

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.not_fast

COMMAND = [sys.executable, "-m", "zerosources.embedded"]


@pytest.mark.parametrize("options", [[], ["--redis"]], ids=["in one process", "with Redis"])
def test_run_until_interrupted(options: list[str], tmp_path: Path) -> None:
    """Everything starts, zero-cache acknowledges commits, and Ctrl-C ends it all with status 0 and nothing left."""
    with subprocess.Popen(
        [*COMMAND, "--data-dir", str(tmp_path), *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        said: list[str] = []
        for line in process.stdout:
            said.append(line)
            if "acknowledged" in line and "zero-cache has its replica and serves clients.\n" in said:
                break
        processes = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
    assert process.returncode == 0, "".join([*said, rest])
    assert rest.endswith("Stopping …\n")
    assert not any(left.is_running() for left in processes)


def test_nobody_reads_any_more(tmp_path: Path) -> None:
    """As in `make run | head -1`: it ends, and nothing is left."""
    with subprocess.Popen(
        [*COMMAND, "--data-dir", str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        assert any(line.startswith("Loaded ") for line in process.stdout)
        processes = psutil.Process(process.pid).children(recursive=True)
        process.stdout.close()
        assert process.wait(120) != 0
    assert processes
    assert not any(left.is_running() for left in processes)


def test_time_limit(tmp_path: Path) -> None:
    """With `--seconds` it ends by itself, with status 0."""
    done = subprocess.run(
        [*COMMAND, "--data-dir", str(tmp_path), "--seconds", "0"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    for what in (
        "Admin ",
        "user admin, password ",
        "Stream      ws://zero-cache:",
        "zero-cache  http://",
        "Stopping …\n",
    ):
        assert what in done.stdout
