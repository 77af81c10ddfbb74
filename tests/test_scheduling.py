"""scheduling.py: which worker runs which file of tests."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.scheduling import LONGEST, MEASURING, TESTS, WAITING, Scheduling, place_of

FILES = ("a.py", "b.py", WAITING[0], "c.py", WAITING[1], MEASURING[0], "d.py")


class Worker:
    """Runs nothing, and knows what it was told to run."""

    def __init__(self) -> None:
        self.gateway = SimpleNamespace(id="worker")
        self.shutting_down = False
        self.to_run: list[int] = []

    def send_runtest_some(self, indices: list[int]) -> None:
        self.to_run += indices

    def shutdown(self) -> None:
        self.shutting_down = True


def run_all(workers: list[Worker], collection: list[str]) -> list[list[str]]:
    """The tests that each worker was given, where each runs one test at a time and all take the same time."""
    config: Any = SimpleNamespace(
        getvalue=lambda _: ["popen"] * len(workers), option=SimpleNamespace(loadscopereorder=False)
    )
    scheduling = Scheduling(config)
    nodes = cast("list[Any]", workers)
    for node in nodes:
        scheduling.add_node(node)
        scheduling.add_node_collection(node, collection)
    scheduling.schedule()
    done = [0] * len(workers)
    while not all(worker.shutting_down and done[i] == len(worker.to_run) for i, worker in enumerate(workers)):
        for i, worker in enumerate(workers):
            if done[i] < len(worker.to_run):
                scheduling.mark_test_complete(nodes[i], worker.to_run[done[i]])
                done[i] += 1
    return [[collection[index] for index in worker.to_run] for worker in workers]


def test_a_worker_beyond_the_processors_runs_only_files_that_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file runs as a whole in one worker, and all of them run."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    files = sorted(FILES, key=lambda name: place_of(TESTS / name))
    assert files[-1] == MEASURING[0]
    collection = [f"tests/{name}::test_{number}" for name in files for number in range(5 if name in WAITING else 20)]
    given = run_all([Worker() for _ in range(3)], collection)
    assert {test.partition("::")[0] for test in given[2]} == {f"tests/{WAITING[0]}", f"tests/{WAITING[1]}"}
    assert sorted(given[0] + given[1] + given[2]) == sorted(collection)


def test_every_file_with_a_place_of_its_own_exists_and_has_one_place() -> None:
    names = [*LONGEST, *WAITING, *MEASURING]
    assert [name for name in names if not (TESTS / name).is_file()] == []
    assert len(set(names)) == len(names)
