"""A TCP proxy that does harm: it delays, stops, cuts and half-closes what goes through it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress

HOST = "127.0.0.1"
CHUNK_BYTES = 64 * 1024


class TcpProxy:
    """Listens on a free port of 127.0.0.1 in a thread of its own and passes everything on to `target_port` there.

    `heal` ends whatever harm was done, for old connections and new ones.
    """

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.port = 0
        self._delay_seconds = 0.0
        self._is_cut = False
        self._connections: set[_Connection] = set()
        self._loop = asyncio.new_event_loop()
        self._passes = asyncio.Event()
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),), name="tcp-proxy")

    def slow_down(self, seconds: float) -> None:
        """Each portion waits for so long, in both directions."""
        self._do(lambda: setattr(self, "_delay_seconds", seconds))

    def stop_passing(self) -> None:
        """Connections stay and are accepted, and nothing goes through them: what a broken network looks like."""
        self._do(self._passes.clear)

    def cut(self) -> None:
        """Ends all connections, and new ones as soon as they are made."""

        def cut() -> None:
            self._is_cut = True
            for connection in self._connections:
                connection.end()

        self._do(cut)

    def half_close(self) -> None:
        """Those who have connected read an end of what they are sent, and may go on sending."""

        def half_close() -> None:
            for connection in self._connections:
                connection.half_close()

        self._do(half_close)

    def heal(self) -> None:
        def heal() -> None:
            self._delay_seconds = 0.0
            self._is_cut = False
            self._passes.set()

        self._do(heal)

    def __enter__(self) -> TcpProxy:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()

    def _do(self, change: Callable[[], None]) -> None:
        done = threading.Event()

        def run() -> None:
            change()
            done.set()

        self._loop.call_soon_threadsafe(run)
        done.wait()

    async def _run(self) -> None:
        self._passes.set()
        # Not as a context manager: that waits for connections, which end below.
        server = await asyncio.start_server(self._accept, HOST, 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        tasks = [connection.task for connection in self._connections]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connection = _Connection(task, writer)
        self._connections.add(connection)
        try:
            if not self._is_cut:
                await self._join(reader, writer)
        except asyncio.CancelledError:
            # Cut, or the end of the proxy. asyncio would report it as a failure of the server's.
            return
        except OSError:
            return
        finally:
            self._connections.discard(connection)
            writer.transport.abort()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target_reader, target_writer = await asyncio.open_connection(HOST, self.target_port)
        try:
            await asyncio.gather(self._pass_on(reader, target_writer), self._pass_on(target_reader, writer))
        finally:
            target_writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(CHUNK_BYTES):
            await asyncio.sleep(self._delay_seconds)
            await self._passes.wait()
            with suppress(RuntimeError):  # half-closed by `half_close`: what comes now has nowhere to go
                writer.write(chunk)
            await writer.drain()
        if writer.can_write_eof():
            with suppress(OSError):
                writer.write_eof()


class _Connection:
    def __init__(self, task: asyncio.Task[None], writer: asyncio.StreamWriter) -> None:
        self.task = task
        self._writer = writer

    def end(self) -> None:
        self.task.cancel()

    def half_close(self) -> None:
        with suppress(OSError, RuntimeError):
            self._writer.write_eof()
