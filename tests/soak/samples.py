"""What is measured every few seconds, and the file that it is kept in."""

from __future__ import annotations

import csv
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.soak.lag import LagMeter
from tests.soak.system import SoakSystem
from tests.soak.trends import percentile
from tests.soak.writer import SteadyWriters
from zerosources.embedded.server import Server

MEGABYTE = 2**20


@dataclass(frozen=True)
class ProcessUse:
    """Of a server with all its children.

    Attributes:
        megabytes: memory that is neither of a file nor shared.
        cpu_seconds: since it started.
    """

    megabytes: float
    descriptors: int
    threads: int
    cpu_seconds: float


@dataclass(frozen=True)
class RedisUse:
    """`megabytes` is what Redis counts against `maxmemory`, `log_megabytes` the part of it that is the log."""

    megabytes: float
    log_megabytes: float
    log_length: int


@dataclass(frozen=True)
class Sample:
    """One moment: seconds since the run began, writes until then, and what each server used."""

    seconds: float
    writes: int
    processes: dict[str, ProcessUse]
    redis: RedisUse


class Sampler:
    """Takes samples and appends each to the file at `path`, so that they are there whatever ends the run. `started` is when
    the run began, in seconds since 1970."""

    def __init__(self, path: Path, system: SoakSystem, writers: SteadyWriters, meters: Sequence[LagMeter]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.samples: list[Sample] = []
        self._system = system
        self._writers = writers
        self._meters = meters
        self.started = time.time()
        self._last = self.started
        self._file = path.open("w", encoding="utf-8", newline="", buffering=1)
        self._rows = csv.writer(self._file)

    def take(self) -> Sample:
        """A sample of now."""
        servers = {**self._system.ours, **self._system.others}
        now = time.time()
        sample = Sample(
            seconds=now - self.started,
            writes=self._writers.writes,
            processes={name: process_use(server) for name, server in servers.items()},
            redis=redis_use(self._system),
        )
        if not self.samples:
            self._rows.writerow(self._header(sample))
        self.samples.append(sample)
        self._rows.writerow(self._row(sample))
        self._last = now
        return sample

    def __enter__(self) -> Sampler:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def _header(self, sample: Sample) -> list[str]:
        columns = ["seconds", "writes"]
        for name in sample.processes:
            columns += [f"{name} {of}" for of in ("MB", "descriptors", "threads", "cpu seconds")]
        columns += ["redis MB", "redis log MB", "redis log length"]
        for meter in self._meters:
            columns += [f"{meter.name} lag ms p50", f"{meter.name} lag ms p99"]
        return columns

    def _row(self, sample: Sample) -> list[object]:
        row: list[object] = [round(sample.seconds, 1), sample.writes]
        for use in sample.processes.values():
            row += [round(use.megabytes, 2), use.descriptors, use.threads, round(use.cpu_seconds, 2)]
        row += [round(sample.redis.megabytes, 2), round(sample.redis.log_megabytes, 2), sample.redis.log_length]
        for meter in self._meters:
            lags = meter.since(self._last)
            row += [round(percentile(lags, fraction) * 1000, 1) for fraction in (0.5, 0.99)]
        return row


def process_use(server: Server) -> ProcessUse:
    """Of now. A child that ends meanwhile is left out."""
    main = psutil.Process(server.pid)
    uses = []
    for process in (main, *main.children(recursive=True)):
        with suppress(psutil.NoSuchProcess), process.oneshot():
            memory, cpu = process.memory_info(), process.cpu_times()
            # Not USS: the kernel walks through all pages for it, which takes more than some of the processes themselves.
            private = (memory.rss - memory.shared) / MEGABYTE
            uses.append(ProcessUse(private, process.num_fds(), process.num_threads(), cpu.user + cpu.system))
    return ProcessUse(
        sum(use.megabytes for use in uses),
        sum(use.descriptors for use in uses),
        sum(use.threads for use in uses),
        sum(use.cpu_seconds for use in uses),
    )


def redis_use(system: SoakSystem) -> RedisUse:
    """Of now. The log is of length 0 while there is none.

    Its size is that of all that Redis holds but the buffers of its clients: MEMORY USAGE of a full log holds Redis up for
    some 40 ms, and what is measured here are lags.
    """
    keys = list(system.redis.scan_iter("changesource:*:log"))
    memory = system.redis.memory_stats()
    return RedisUse(
        memory["total.allocated"] / MEGABYTE,
        memory["dataset.bytes"] / MEGABYTE,
        sum(system.redis.xlen(key) for key in keys),
    )
