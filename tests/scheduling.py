"""In which order files of tests run, and in which process."""

import os
from pathlib import Path

from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

TESTS = Path(__file__).parent

LONGEST = ("faults/test_oracle.py", "test_on_postgresql.py")
"""They begin first: no worker is left with one of them at the end."""

WAITING = (
    "e2e/test_unusual_events.py",
    "embedded/test_main.py",
    "e2e/test_asgi_servers.py",
    "e2e/test_clients.py",
    "browser/test_publishing.py",
    "e2e/test_publishing_clients.py",
    "embedded/test_servers.py",
    "e2e/test_readiness.py",
    "e2e/test_commands.py",
    "embedded/test_zero_cache.py",
    "e2e/test_hostile_headers.py",
    "browser/test_content_security_policy.py",
    "browser/test_json_editor.py",
    "e2e/test_django_on_postgresql.py",
    "e2e/test_tls.py",
    "e2e/test_requests.py",
    "browser/test_clients.py",
    "replication/test_source_identity.py",
    "sessions/test_session_resets.py",
    "sessions/test_session.py",
    "faults/test_quiet_sources.py",
    "browser/test_rules.py",
)
"""They wait for half of their time or longer: for servers to start, for time limits, for a browser. They do not measure
time. The longest begin first."""

MEASURING = (
    "e2e/test_under_load.py",
    "e2e/test_limits.py",
    "e2e/test_many.py",
    "e2e/test_queries.py",
    "e2e/test_permissions.py",
    "e2e/test_stalled_reader.py",
    "e2e/test_hostile_inputs.py",
    "faults/test_leadership.py",
    "faults/test_graceful_stop.py",
    "replication/test_slow_leader.py",
    "replication/test_watcher.py",
    "replication/test_feed.py",
    "mongo/test_change_stream.py",
    "trials/test_process.py",
    "faults/test_slow_tables.py",
    "replication/test_slow_documents.py",
    "replication/test_log_lag.py",
    "replication/test_entry_reader.py",
    "log/test_contract.py",
    "operations/test_publisher.py",
    "sessions/test_outlet.py",
    "limits/test_buckets.py",
)
"""They measure how long something takes, and run at the end, where no more workers run than there are processors."""

IN_ORDER = {TESTS / name: place for place, name in enumerate((*LONGEST, "", *WAITING, *MEASURING))}
OTHERS = len(LONGEST)


def place_of(path: Path) -> int:
    """Files with a smaller one run earlier."""
    return IN_ORDER.get(path, OTHERS)


class Scheduling(LoadFileScheduling):
    """Each worker runs whole files, as with xdist's own `loadfile`. Workers beyond the number of processors take those that
    wait, while the others keep the processors busy. They end when there are no more of them."""

    def _assign_work_unit(self, node: WorkerController) -> None:
        if self._is_beyond(node) and (waiting := self._waiting()):
            self.workqueue.move_to_end(waiting[0], last=False)
        super()._assign_work_unit(node)

    def _reschedule(self, node: WorkerController) -> None:
        if self._is_beyond(node) and not self._waiting():
            if not node.shutting_down:
                node.shutdown()
            return
        super()._reschedule(node)

    def _waiting(self) -> list[str]:
        return [name for name in self.workqueue if name.removeprefix(f"{TESTS.name}/") in WAITING]

    def _is_beyond(self, node: WorkerController) -> bool:
        return self.nodes.index(node) >= len(os.sched_getaffinity(0))
