"""`make removals`: takes the handling of each fault out of a copy of the project, and shows that a test notices.

Each removal is a piece of the source, what it is replaced by, and the tests of which at least one has to fail then. First all
of them have to pass as things are.

Why the pieces are written out, and no tool for mutations makes them: such a tool changes one operator, constant, argument or
string, and takes out no handling as a whole. Of the 66 removals in 34 files, mutmut 3.8.1 makes 5 (among 6,878 mutants) and
cosmic-ray 8.7.0 makes 1 (among 6,647); most of the tests need servers, and even the quickest removal takes some seconds, so
trying all mutants would take a day. Neither tool reads the Lua scripts of the log, and an operator of our own would have to
find its place by the same pieces. `test_removals.py` names each piece that no longer fits the source, without running it.
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parents[2]
COPIED = ("changesource", "zerosources", "tests", "docs", "manage.py", "pyproject.toml")
PASSED, FAILED = 0, 1
"""pytest's exit statuses."""
TIMEOUT_SECONDS = 300
"""Of one run of tests: without its handling a fault may well keep a test waiting."""
TEST_TIMEOUT_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Removal:
    """`fault` is a row of the table of faults, `handling` what is taken out of `file`, and `tests` are pytest's node ids."""

    fault: str
    handling: str
    file: str
    old: str
    new: str
    tests: Sequence[str]


WATCHER, SERVER, REDIS, MONGODB = "watcher killed, paused, twice", "server killed", "Redis gone", "MongoDB interrupted"
OPLOG, LARGE, DROP, RENAME = "oplog rolled over", "event over 16 MB", "drop", "rename, dropDatabase"
DOCUMENT, REQUEST, SIGTERM = "bad document", "bad request", "SIGTERM"
SLOW, MARKERS, STRANGER = "slow document", "forged markers", "a client's made-up replicas and slow snapshots"
REPLACED, SECONDARY, REVOKED = "source replaced", "URI that names a secondary", "client revoked"
PUBLISH, AT_ONCE, UNDECIDED = "publish", "two snapshots at once", "row that cannot be judged"
ENDLESS, DOORBELL = "stream for days", "doorbell that does not ring"
ACCESS, BARRIER, ELECTION = "access without a place", "marker that does not come back", "write that is rolled back"
GROWTH, BUSY = "log that grows", "operation or send that takes long"

REMOVALS = (
    Removal(
        WATCHER,
        "compare-and-set of the log",
        "changesource/log/redis.py",
        "if tail ~= ARGV[1] then return {'mismatch', tail} end\n",
        "",
        ["tests/faults/test_crash_points.py"],
    ),
    Removal(
        WATCHER,
        "compare-and-set of the log in memory",
        "changesource/log/memory.py",
        'if tail != after:\n            raise LogMismatch(f"The log ends at {tail}, not at {after}.")\n',
        "pass\n",
        ["tests/faults/test_crash_points.py::test_each_step"],
    ),
    Removal(
        WATCHER,
        "lease that expires",
        "changesource/log/redis.py",
        "redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])",
        "redis.call('SET', KEYS[1], ARGV[1])",
        ["tests/replication/test_watcher.py::test_another_watcher_takes_over_without_gap_or_repetition"],
    ),
    Removal(
        WATCHER,
        "unfinished transaction begun again",
        "changesource/replication/watcher.py",
        "whole = extent.whole or tail\n",
        "whole = tail\n",
        [
            "tests/replication/test_watcher.py::test_the_next_leader_repeats_an_unfinished_transaction",
            "tests/faults/test_crash_points.py",
        ],
    ),
    Removal(
        SERVER,
        "resuming at the watermark, inclusive",
        "changesource/replication/feed.py",
        "after = EntryId.before(self.position.cluster_time)\n",
        "after = EntryId(self.position)\n",
        [
            "tests/replication/test_feed.py::test_the_log_is_read_from_the_cluster_time_of_the_position_on",
            "tests/faults/test_crash_points.py",
        ],
    ),
    Removal(
        SERVER,
        "resuming at the watermark",
        "changesource/sessions/session.py",
        "start = Position.from_watermark(replica.snapshot_end) if last == version else last\n",
        "start = Position(now)\n",
        ["tests/e2e/test_many.py::test_another_server_takes_over"],
    ),
    Removal(
        REDIS,
        "reading MongoDB where the log does not serve",
        "changesource/replication/feed.py",
        "return since is None or time.monotonic() - since > PATIENCE_SECONDS\n",
        "return False\n",
        [
            "tests/replication/test_feed.py::test_a_feed_survives_a_redis_that_is_restarted_empty",
            "tests/replication/test_feed.py::test_a_redis_that_hangs_delays_the_feed_once_at_most",
        ],
    ),
    Removal(
        REDIS,
        "writing to the log that was read",
        "changesource/replication/watcher.py",
        "await self._log.append(entry, tail, log_id)\n                        tail",
        "await self._log.append(entry, tail)\n                        tail",
        ["tests/faults/test_crash_points.py::test_scenario"],
    ),
    Removal(
        REDIS,
        "noticing a hole in the log",
        "changesource/replication/feed.py",
        "return entry.previous is not None and entry.previous <= after\n",
        "return True\n",
        ["tests/replication/test_feed.py::test_an_entry_after_a_hole_is_not_taken"],
    ),
    Removal(
        REDIS,
        "noticing another log",
        "changesource/replication/feed.py",
        "if log_id not in (None, entry.log_id) or not",
        "if not",
        ["tests/replication/test_feed.py::test_a_fitting_entry_of_another_log_is_not_taken"],
    ),
    Removal(
        MONGODB,
        "opening the stream again",
        "changesource/mongo/faults.py",
        "if error.code not in RESUMABLE | CURSOR_GONE and not error.has_error_label(",
        "if not error.has_error_label(",
        [
            "tests/mongo/test_faults.py",
            "tests/replication/test_watcher.py::test_interruptions_of_mongodb_leave_no_gap_and_no_repetition",
            "tests/replication/test_feed.py::test_a_feed_survives_interruptions_of_mongodb",
        ],
    ),
    Removal(
        MONGODB,
        "a scan that goes on when its cursor is gone",
        "changesource/mongo/faults.py",
        "CURSOR_GONE = frozenset({43, 50, 175, 237, 239, 246, 11601})",
        "CURSOR_GONE = frozenset({43, 50})",
        ["tests/faults/test_long_snapshots.py::test_ids_of_all_types"],
    ),
    Removal(
        OPLOG,
        "a log that starts over",
        "changesource/mongo/faults.py",
        'if error.code in NO_WAY_ON or error.has_error_label("NonResumableChangeStreamError"):',
        "if False:",
        [
            "tests/replication/test_watcher.py::test_after_lost_history_the_log_starts_over",
            "tests/replication/test_feed.py::test_lost_history_ends_the_feed",
        ],
    ),
    Removal(
        OPLOG,
        "reset-required, not in a hurry",
        "changesource/sessions/session.py",
        "await asyncio.sleep(closing.RESET_DELAY_SECONDS)\n",
        "pass\n",
        ["tests/faults/test_no_way_on.py::test_history_lost"],
    ),
    Removal(
        OPLOG,
        "comparing the source's id",
        "changesource/replication/source_identity.py",
        "elif found == known:\n",
        "elif found:\n",
        ["tests/replication/test_source_identity.py"],
    ),
    Removal(
        OPLOG,
        "comparing the source's clock",
        "changesource/replication/source_identity.py",
        "if time.monotonic() > deadline:\n            return False\n",
        "return True\n",
        ["tests/replication/test_source_identity.py"],
    ),
    Removal(
        LARGE,
        "joining fragments",
        "changesource/mongo/change_stream.py",
        'whole = self._join(raw) if "splitEvent" in raw else raw\n',
        "whole = raw\n",
        ["tests/mongo/test_change_stream.py::test_the_fragments_of_an_event_are_joined"],
    ),
    Removal(
        LARGE,
        "a row error for a row that zero-cache would not take",
        "changesource/tables/compiled_table.py",
        "or len(orjson.dumps(row)) <= MAX_ROW_BYTES\n",
        "or True\n",
        ["tests/tables/test_compiled_table.py::test_a_row_that_is_too_large_is_left_out"],
    ),
    Removal(
        DROP,
        "emptying tables",
        "changesource/replication/renderer.py",
        "if changes.is_emptied:\n            for table in tables:",
        "if changes.is_reloaded:\n            for table in tables:",
        [
            "tests/replication/test_renderer.py::test_a_dropped_collection_empties_its_tables",
            "tests/replication/test_entry_reader.py::test_a_collection_dropped_and_written_again_has_the_new_rows",
        ],
    ),
    Removal(
        DROP,
        "pre-images of a collection that is created again",
        "changesource/replication/renderer.py",
        "await restore_pre_images(self._database, table.collection)\n",
        "0\n",
        [
            "tests/replication/test_renderer.py::test_a_missing_pre_image_reloads_the_table",
            "tests/e2e/test_mappings.py",
        ],
    ),
    Removal(
        RENAME,
        "loading tables of the new name",
        "changesource/replication/renderer.py",
        "_CollectionChanges(is_emptied=True, is_reloaded=True)",
        "_CollectionChanges(is_emptied=True)",
        [
            "tests/replication/test_renderer.py",
            "tests/replication/test_entry_reader.py::test_a_collection_renamed_to_another_replaces_its_rows",
        ],
    ),
    Removal(
        RENAME,
        "another stream after invalidate",
        "changesource/replication/entry_reader.py",
        "if is_invalidated:\n                    return\n",
        "pass\n",
        ["tests/replication/test_entry_reader.py::test_a_reader_continues_after_the_database_was_dropped"],
    ),
    Removal(
        DOCUMENT,
        "a value that does not fit",
        "changesource/tables/compiled_table.py",
        "except DoesNotFit as misfit:\n                self._add_error(",
        "except ZeroDivisionError as misfit:\n                self._add_error(",
        ["tests/replication/test_renderer.py", "tests/tables/test_compiled_table.py"],
    ),
    Removal(
        DOCUMENT,
        "equal numbers as one _id",
        "changesource/tables/document_ids.py",
        "return equality_key(document_id, ",
        "return repr(document_id), Budget(",
        ["tests/mongod/test_known_streams.py"],
    ),
    Removal(
        DOCUMENT,
        "one key for equal numbers as _id",
        "changesource/tables/document_ids.py",
        "    kind = type(document_id)\n    if kind not in WITH_SEVERAL_FORMS:\n",
        "    kind = type(document_id)\n    if kind:\n",
        ["tests/mongod/test_known_streams.py"],
    ),
    Removal(
        DOCUMENT,
        "an _id that is not UTF-8",
        "changesource/mongo/decoding.py",
        '_STRICT = CODEC_OPTIONS.with_options(unicode_decode_error_handler="strict")\n',
        "_STRICT = CODEC_OPTIONS\n",
        ["tests/mongod/test_known_streams.py"],
    ),
    Removal(
        REQUEST,
        "a code and a reason",
        "changesource/consumers.py",
        "except InvalidRequest as error:\n            await self._limits.holds.hold(self._address)\n"
        "            return closing.invalid_request(str(error))\n",
        "except ZeroDivisionError:\n            return None\n",
        ["tests/e2e/test_hostile_inputs.py::test_handshake"],
    ),
    Removal(
        SIGTERM,
        "streams that end between two transactions, with 1012",
        "changesource/protocol/closing.py",
        "return Closing(1012, ",
        "return Closing(1000, ",
        ["tests/faults/test_graceful_stop.py::test_under_load"],
    ),
    Removal(
        SIGTERM,
        "leadership that is handed over",
        "changesource/replication/watcher.py",
        "self.is_leading = False\n            await self._give_up_lease()\n",
        "self.is_leading = False\n",
        ["tests/replication/test_watcher.py::test_a_watcher_that_ends_gives_up_its_lease"],
    ),
    Removal(
        SLOW,
        "rows that are made beside the loop, so that the lease is renewed",
        "changesource/replication/slow_documents.py",
        "    _threads.run(call)\n    try:\n",
        "    call.run()\n    try:\n",
        ["tests/replication/test_slow_leader.py::test_one_watcher_leads_while_a_document_takes_twice_the_lease"],
    ),
    Removal(
        SLOW,
        "an end of the work that one document may take",
        "changesource/mql/budget.py",
        "if self.steps < 0:\n",
        "if False:\n",
        ["tests/faults/test_slow_tables.py::test_the_largest_grid_is_beyond_what_a_document_may_take"],
    ),
    Removal(
        MARKERS,
        "the form of a nonce",
        "changesource/mongo/markers.py",
        "return nonce if _NONCE.fullmatch(nonce) else None\n",
        "return nonce\n",
        ["tests/mongo/test_markers.py"],
    ),
    Removal(
        STRANGER,
        "missing only replicas that are registered",
        "changesource/models/queries/awaited_replicas.py",
        "if notice.replica_version not in registered:\n            return\n",
        "registered.insert(0, notice.replica_version)\n",
        ["tests/models/queries/test_awaited_replicas.py::test_a_replica_that_is_not_registered_is_not_awaited"],
    ),
    Removal(
        STRANGER,
        "snapshot slots that go round by client, in Redis",
        "changesource/limits/redis_semaphores.py",
        "(not next or count < fewest or (count == fewest and since < longest))",
        "not next",
        ["tests/limits/test_semaphores.py::test_slots_go_round_by_group"],
    ),
    Removal(
        STRANGER,
        "snapshot slots that go round by client, in one process",
        "changesource/limits/semaphores.py",
        "return slots[waiting.group], max(waiting.since, self.served_at.get(waiting.group, 0))\n",
        "return 0, waiting.since\n",
        ["tests/limits/test_semaphores.py::test_slots_go_round_by_group"],
    ),
    Removal(
        STRANGER,
        "a rate below which no snapshot is read",
        "changesource/sessions/outlet.py",
        "asyncio.timeout(min(self._stall_seconds, seconds_left))",
        "asyncio.timeout(self._stall_seconds)",
        ["tests/sessions/test_outlet.py::test_a_client_that_reads_too_little_over_the_whole_is_dropped"],
    ),
    Removal(
        REPLACED,
        "waiting for the source's clock",
        "changesource/sessions/session.py",
        "await wait_for_the_clock(database, self.app_id, self.identity.client_id, self.shard_num)\n",
        "",
        ["tests/sessions/test_session.py::test_a_snapshot_begins_after_what_the_client_has_had"],
    ),
    Removal(
        REPLACED,
        "an end of the wait for the source's clock",
        "changesource/sessions/source_clock.py",
        "if time.monotonic() > deadline:\n            logger.error(",
        "if False:\n            logger.error(",
        ["tests/sessions/test_session.py::test_a_snapshot_does_not_wait_forever_for_a_clock"],
    ),
    Removal(
        REPLACED,
        "a look at the source after a snapshot",
        "changesource/sessions/session.py",
        "await context.views.history.check_source(context.database)\n        await queries.replicas.register_replica(",
        "await queries.replicas.register_replica(",
        ["tests/sessions/test_session.py::test_a_snapshot_of_a_source_that_is_replaced_meanwhile_is_not_committed"],
    ),
    Removal(
        SECONDARY,
        "reads from the primary",
        "changesource/mongo/source.py",
        "read_preference=ReadPreference.PRIMARY,\n",
        "",
        ["tests/mongo/test_source.py::test_a_uri_cannot_select_a_secondary"],
    ),
    Removal(
        REVOKED,
        "the end of a snapshot under way",
        "changesource/sessions/session.py",
        "self._service.add_connection(self)\n",
        "if self._request.resume is not None:\n            self._service.add_connection(self)\n",
        ["tests/sessions/test_session.py::test_revoking_a_client_ends_its_snapshot"],
    ),
    Removal(
        PUBLISH,
        "refusing an entry of a newer version",
        "changesource/sessions/stream.py",
        "if entry.version > version.number:\n",
        "if False:\n",
        ["tests/sessions/test_session.py::test_what_another_version_rendered_is_not_passed_on"],
    ),
    Removal(
        PUBLISH,
        "passing over an entry of an older version",
        "changesource/sessions/stream.py",
        "if entry.is_publish or entry.version < version.number:\n",
        "if entry.is_publish:\n",
        ["tests/sessions/test_session.py::test_what_another_version_rendered_is_not_passed_on"],
    ),
    Removal(
        AT_ONCE,
        "an ordinal that is drawn",
        "changesource/sessions/snapshot.py",
        "secrets.randbelow(end - position.ordinal)",
        "0",
        ["tests/sessions/test_session.py::test_snapshots_that_begin_at_once_have_different_positions"],
    ),
    Removal(
        AT_ONCE,
        "an ordinal that no replica has",
        "changesource/sessions/snapshot.py",
        "if await queries.replicas.find_replica(context.app_id, context.shard_num, drawn.watermark) is None:\n",
        "if True:\n",
        ["tests/sessions/test_session.py::test_a_position_that_is_taken_is_not_taken_again"],
    ),
    Removal(
        UNDECIDED,
        "a row filter that does not let it pass",
        "changesource/rules/row_filter.py",
        "except MqlError:\n                known = False\n",
        "except MqlError:\n                known = True\n",
        ["tests/rules/test_row_filter.py::test_a_row_for_which_the_filter_cannot_be_computed_does_not_pass"],
    ),
    Removal(
        ENDLESS,
        "no limit of its lifetime",
        "changesource/daphne/server.py",
        "websocket_timeout=-1,\n",
        "",
        ["tests/e2e/test_limits.py::test_a_stream_has_no_end"],
    ),
    Removal(
        ENDLESS,
        "WEBSOCKET_DEFLATE=0",
        "changesource/daphne/server.py",
        "if self.settings.deflate:\n",
        "if True:\n",
        ["tests/e2e/test_limits.py::test_compression_is_a_setting"],
    ),
    Removal(
        DOORBELL,
        "ringing when the log has grown",
        "changesource/log/redis.py",
        "self._doorbell.ring()\n",
        "pass\n",
        ["tests/e2e/test_many.py::test_another_server_takes_over"],
    ),
    Removal(
        ACCESS,
        "reset-required for a replica of other attributes",
        "changesource/sessions/resume.py",
        "if replica.scope != access.scope:\n",
        "if False:\n",
        ["tests/sessions/test_session_resets.py::test_a_replica_of_other_attributes_may_not_resume"],
    ),
    Removal(
        ACCESS,
        "reset-required for a replica whose access is not kept",
        "changesource/sessions/resume.py",
        "if not entitlements.oldest_number <= replica.access_number <= entitlements.newest_number:\n",
        "if False:\n",
        ["tests/sessions/test_session_resets.py::test_a_replica_of_an_access_that_is_no_longer_kept_may_not_resume"],
    ),
    Removal(
        ACCESS,
        "comparing the access that was in force",
        "changesource/sessions/resume.py",
        "if access.access_number_at(Position.from_watermark(replica.replica_version)) != replica.access_number:\n",
        "if False:\n",
        ["tests/sessions/test_session_resets.py::test_a_replica_of_another_access_than_was_in_force_may_not_resume"],
    ),
    Removal(
        ACCESS,
        "the end of a stream that met no marker there",
        "changesource/sessions/resume.py",
        "return ACCESS_WITHOUT_A_PLACE if access.access_number_at(position) > view.access_number else None\n",
        "return None\n",
        [
            "tests/sessions/test_session_resets.py::test_a_stream_ends_past_the_place_of_an_access_whose_marker_never_came"
        ],
    ),
    Removal(
        BARRIER,
        "an end of the wait of a snapshot",
        "changesource/sessions/barrier.py",
        "elif time.monotonic() > deadline:\n",
        "elif False:\n",
        ["tests/sessions/test_session.py::test_a_snapshot_gives_up_a_marker_that_does_not_come_back"],
    ),
    Removal(
        BARRIER,
        "an end of the wait of a transition",
        "changesource/sessions/barrier.py",
        "elif time.monotonic() > deadline:\n",
        "elif False:\n",
        ["tests/sessions/test_session.py::test_a_transition_gives_up_a_marker_that_does_not_come_back"],
    ),
    Removal(
        ELECTION,
        "reading what a majority has",
        "changesource/mongo/change_stream.py",
        'return {"level": "majority"}\n',
        "return {}\n",
        ["tests/mongo/test_change_stream.py::test_only_what_a_majority_has_is_read"],
    ),
    Removal(
        ELECTION,
        "reading from a server that has come to the snapshot",
        "changesource/mongo/change_stream.py",
        ', "afterClusterTime": timestamp_of(self._known_until)}',
        "}",
        ["tests/mongo/test_change_stream.py::test_only_what_a_majority_has_is_read"],
    ),
    Removal(
        ELECTION,
        "asking what a majority has",
        "changesource/mongo/source.py",
        ', "readConcern": {"level": "majority"}}',
        "}",
        ["tests/mongo/test_source.py::test_the_majoritys_cluster_time_is_read_from_a_majority"],
    ),
    Removal(
        GROWTH,
        "trimming",
        "changesource/replication/watcher.py",
        "await self._log.trim()\n",
        "pass\n",
        ["tests/replication/test_watcher.py::test_the_leader_trims_the_log"],
    ),
    Removal(
        BUSY,
        "giving way to others between portions",
        "changesource/sessions/outlet.py",
        "if self._share.is_used_up:\n",
        "if False:\n",
        ["tests/sessions/test_outlet.py::test_other_tasks_run_while_much_is_sent"],
    ),
    Removal(
        BUSY,
        "an end of the wait of collMod",
        "changesource/mongo/pre_images.py",
        ', "maxTimeMS": RESTORE_MS}',
        "}",
        ["tests/mongo/test_pre_images.py::test_restoring_does_not_wait_for_long"],
    ),
    Removal(
        OPLOG,
        "noting what a replica has",
        "changesource/sessions/stream.py",
        "await self._notes.note_if_due()\n",
        "pass\n",
        ["tests/sessions/test_session.py::test_what_a_replica_has_is_noted"],
    ),
    Removal(
        DOORBELL,
        "short waits before it can be heard",
        "changesource/log/doorbell.py",
        "if not self._is_listening:\n",
        "if False:\n",
        ["tests/log/test_doorbell.py"],
    ),
    Removal(
        MARKERS,
        "asking again for a marker of an earlier time",
        "changesource/replication/lookups.py",
        " and self._since <= since:",
        ":",
        ["tests/replication/test_lookups.py"],
    ),
    Removal(
        BARRIER,
        "writing the marker of an access no more than now and then",
        "changesource/sessions/client_access.py",
        "if now - self._marked_at.get(newest.nonce, -MARK_AGAIN_SECONDS) < MARK_AGAIN_SECONDS:\n",
        "if False:\n",
        ["tests/sessions/test_access_markers.py"],
    ),
    Removal(
        BARRIER,
        "writing the marker of an access again",
        "changesource/sessions/client_access.py",
        "if now - self._marked_at.get(newest.nonce, -MARK_AGAIN_SECONDS) < MARK_AGAIN_SECONDS:\n",
        "if newest.nonce in self._marked_at:\n",
        ["tests/sessions/test_access_markers.py"],
    ),
)


def problems_of(removal: Removal) -> list[str]:
    """Why it cannot be tried: what is taken out is not there just once, nothing runs without it, or a test is not there."""
    whole = (PROJECT / removal.file).read_text()
    found = whole.count(removal.old)
    problems = [] if found == 1 else [f"{removal.file} has {removal.old!r} {found} times, not once."]
    try:
        ast.parse(whole.replace(removal.old, removal.new))
    except SyntaxError as error:
        problems.append(f"{removal.file} is no Python without {removal.old!r}: {error}")
    for test in removal.tests:
        path, _, name = test.partition("::")
        file = PROJECT / path
        if not file.is_file() or (name and not re.search(rf"def {name}\(", file.read_text())):
            problems.append(f"There is no test {test}.")
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--fault", metavar="TEXT", default="", help="only faults and handlings with this in the name")
    text = parser.parse_args().fault
    removals = [removal for removal in REMOVALS if text in f"{removal.fault}: {removal.handling}"]
    if problems := [problem for removal in removals for problem in problems_of(removal)]:
        print(*problems, sep="\n")
        return 2
    (PROJECT / ".embedded").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="removals-", dir=PROJECT / ".embedded") as folder:
        copy = Path(folder)
        _copy_project(copy)
        everything = sorted({test for removal in removals for test in removal.tests})
        status, line = _run_tests(copy, everything, TIMEOUT_SECONDS + 60 * len(removals))
        print(f"as it is: {line}", flush=True)
        if status != PASSED:
            return 1
        unnoticed = sum([_is_unnoticed(copy, removal) for removal in removals])
    print(f"{len(removals)} removals, {unnoticed} unnoticed")
    return 1 if unnoticed else 0


def _is_unnoticed(copy: Path, removal: Removal) -> bool:
    file = copy / removal.file
    whole = file.read_text()
    file.write_text(whole.replace(removal.old, removal.new))
    try:
        status, line = _run_tests(copy, removal.tests, TIMEOUT_SECONDS)
    finally:
        file.write_text(whole)
    print(f"{removal.fault}: without {removal.handling}: {line}", flush=True)
    return status != FAILED


def _copy_project(copy: Path) -> None:
    for name in COPIED:
        source = PROJECT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
        else:
            shutil.copy2(source, copy / name)
    (copy / ".embedded").mkdir()
    (copy / ".embedded" / "node").symlink_to((PROJECT / ".embedded" / "node").resolve())


def _run_tests(copy: Path, tests: Sequence[str], timeout_seconds: float) -> tuple[int, str]:
    """The exit status and pytest's closing line. A run that does not end has failed."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        "-o",
        f"timeout={TEST_TIMEOUT_SECONDS}",
        *tests,
    ]
    process = subprocess.Popen(
        command,
        cwd=copy,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=timeout_seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate()
        return FAILED, f"not ended after {timeout_seconds:.0f} s"
    lines = [line for line in output.splitlines() if re.search(r"\d+ (passed|failed|error)", line)]
    return process.returncode, lines[-1] if lines else "no closing line"


if __name__ == "__main__":
    sys.exit(main())
