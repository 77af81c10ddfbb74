"""process.py: whatever a trial does, the process that asked for it is not affected."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from changesource.errors import MappingRefused, TrialBeyondLimits, TrialFailed, TrialsBusy
from changesource.trials import process
from changesource.trials.limits import TrialLimits
from changesource.trials.process import run_trial

pytestmark = pytest.mark.not_fast

SHORT = TrialLimits(cpu_seconds=2, wall_seconds=30)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def hostile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "MODULE", "tests.trials.hostile")


def children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "tests.trials.hostile" in child.cmdline()]


def wait_for(condition: Callable[[], Any], seconds: float = 30.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
    return found


def noted(path: Path) -> int:
    """The process id that the trial noted there."""
    return int(wait_for(lambda: path.exists() and path.read_text()))


def test_the_items_of_a_trial_come_back_in_order() -> None:
    """Whatever text they hold."""
    value = {"ä": ["\n", "😀", None, 1.5]}
    answer = run_trial({"trial": "echo", "value": value})
    assert (answer.items, answer.is_cut) == ([value], False)


def test_a_trial_that_uses_too_much_processor_time_is_killed() -> None:
    """Nothing of it is left."""
    began = time.monotonic()
    with pytest.raises(TrialBeyondLimits, match=r"CS208: .*2 seconds of processor time"):
        run_trial({"trial": "burn"}, SHORT)
    assert time.monotonic() - began < 25
    assert not children()


def test_a_trial_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    """Even if it only waits."""
    with pytest.raises(TrialBeyondLimits, match="5 seconds in all"):
        run_trial({"trial": "wait", "note": str(tmp_path / "pid")}, TrialLimits(wall_seconds=5))
    assert not psutil.pid_exists(noted(tmp_path / "pid"))


@pytest.mark.parametrize("trial", ["hoard", "hoard_at_once", "hoard_and_close"])
def test_a_trial_gets_no_more_than_its_memory(trial: str) -> None:
    """This process is not affected."""
    before = psutil.Process().memory_info().rss
    with pytest.raises(TrialBeyondLimits, match="more than 512 MiB of memory"):
        run_trial({"trial": trial})
    assert psutil.Process().memory_info().rss - before < 2**25


def test_a_crash_takes_only_the_process_of_the_trial(caplog: pytest.LogCaptureFixture) -> None:
    """In code in C, for instance."""
    with pytest.raises(TrialBeyondLimits, match="without an answer"):
        run_trial({"trial": "crash"})
    assert f"status {-signal.SIGSEGV}" in caplog.text


def test_an_unexpected_error_is_logged_with_type_and_place(caplog: pytest.LogCaptureFixture) -> None:
    """Endless recursion, for instance."""
    with pytest.raises(TrialFailed):
        run_trial({"trial": "recurse"})
    assert "RecursionError at " in caplog.text
    assert "hostile.py:" in caplog.text


def test_an_answer_that_is_too_large_is_cut_or_refused() -> None:
    """It is refused where it has to be complete."""
    answer = run_trial({"trial": "gush"})
    assert (len(answer.items), answer.is_cut) == (10, True)
    with pytest.raises(TrialBeyondLimits, match="larger than 1 MiB"):
        run_trial({"trial": "gush"}, cuts=False)


def test_documents_reach_neither_log_nor_terminal_nor_page(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither what a trial prints nor the messages of its errors do."""
    with caplog.at_level(logging.DEBUG), pytest.raises(TrialFailed) as failed:
        run_trial({"trial": "tell_secrets"})
    assert "ValueError at " in caplog.text
    assert "secret" not in "".join([caplog.text, str(failed.value), *capfd.readouterr()])


def test_an_error_of_the_language_keeps_its_code_and_place() -> None:
    """`MqlError` knows nothing of the catalogue of errors, which has a name for it."""
    with pytest.raises(MappingRefused, match=r"CS203: select\[0\]: A string is too much"):
        run_trial({"trial": "refuse"})


def test_a_trial_gets_no_secrets_of_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in its environment nor on its command line."""
    for name in (
        "SECRET_KEY",
        "SECRET_KEY_FALLBACKS",
        "DATABASE_URL",
        "REDIS_URL",
        "MONGODB_URI_EU",
        "JWT_SECRET",
        "USER_JWT_KEYS",
    ):
        monkeypatch.setenv(name, "top secret")
    monkeypatch.setenv("SSL_CERT_FILE", "/certificates")
    environment, arguments = run_trial({"trial": "tell_environment", "sources": {"default": "top secret"}}).items
    assert "top secret" not in json.dumps([environment, arguments])
    assert environment["SSL_CERT_FILE"] == "/certificates"


def test_only_two_trials_run_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of ten, two run. The others wait a little, and are told to try again."""
    monkeypatch.setattr(process, "WAIT_SECONDS", 0.2)
    notes = [tmp_path / f"{number}" for number in range(10)]
    with ThreadPoolExecutor(10) as executor:
        trials = [executor.submit(run_trial, {"trial": "wait", "note": str(note)}) for note in notes]
        wait_for(lambda: sum(trial.done() for trial in trials) == 8)
        wait_for(lambda: sum(note.exists() for note in notes) == 2)
        running = children()
        assert len(running) == 2
        for child in running:
            child.kill()
    errors = [type(trial.exception()) for trial in trials]
    assert sorted(errors, key=str) == [TrialBeyondLimits] * 2 + [TrialsBusy] * 8
    assert run_trial({"trial": "echo", "value": 1}).items == [1]


def test_a_third_trial_waits_until_another_has_ended() -> None:
    """Then it runs."""
    with ThreadPoolExecutor(5) as executor:
        request = {"trial": "echo", "value": 1, "seconds": 0.1}
        assert [answer.items for answer in executor.map(run_trial, [request] * 5)] == [[1]] * 5


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux does it")
@pytest.mark.parametrize("trial", ["burn", "wait"])
def test_a_trial_ends_with_the_process_that_started_it(tmp_path: Path, trial: str) -> None:
    """However that ends, even in the middle of work."""
    code = (
        "import sys; from changesource.trials import process; process.MODULE = 'tests.trials.hostile'; "
        "process.run_trial({'trial': sys.argv[1], 'note': sys.argv[2]})"
    )
    note = tmp_path / "pid"
    parent = subprocess.Popen([sys.executable, "-c", code, trial, str(note)], cwd=ROOT)
    try:
        child = psutil.Process(noted(note))
    finally:
        parent.kill()
        parent.wait()
    # Its process id stays until whoever adopted it has asked for its status.
    wait_for(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, seconds=3)


def test_streams_are_served_while_trials_use_the_processors(tmp_path: Path) -> None:
    """The event loop of this process is hardly ever late."""
    lags: list[float] = []

    async def watch() -> None:
        trials = [
            asyncio.create_task(asyncio.to_thread(run_trial, {"trial": "burn", "note": str(tmp_path / name)}, SHORT))
            for name in "ab"
        ]
        while not all(trial.done() for trial in trials):
            began = time.perf_counter()
            await asyncio.sleep(0.01)
            lags.append(time.perf_counter() - began - 0.01)
        assert [type(error) for error in await asyncio.gather(*trials, return_exceptions=True)] == [
            TrialBeyondLimits
        ] * 2

    asyncio.run(watch())
    assert len(lags) > 100
    assert sorted(lags)[int(len(lags) * 0.95)] < 0.05
    assert max(lags) < 0.5


@pytest.mark.skipif(sys.platform != "linux", reason="Linux does it")
def test_linux_kills_the_trial_first(tmp_path: Path) -> None:
    """When memory runs out. Where processors are scarce, streams have priority."""
    with ThreadPoolExecutor(1) as executor:
        trial = executor.submit(run_trial, {"trial": "wait", "note": str(tmp_path / "pid")})
        pid = noted(tmp_path / "pid")
        assert Path(f"/proc/{pid}/oom_score_adj").read_text() == "1000\n"
        assert psutil.Process(pid).nice() > psutil.Process().nice()
        os.kill(pid, signal.SIGKILL)
    assert isinstance(trial.exception(), TrialBeyondLimits)
