"""Runs one server and leaves nothing of it behind, whatever happens to the process that launched the guard.

    python guard.py [--stop-signal N] [--grace-seconds S] [--unprivileged] -- COMMAND…

The launcher holds the other end of the guard's standard input. When that closes, even because the launcher was
SIGKILLed, or when the guard gets SIGTERM, the guard sends the server its stop signal and, after a time of grace, SIGKILL.
Then it kills every process that the server had started and left. The first line on standard output is the server's
process id. The server's own output goes to the guard's standard error. The guard exits with the server's status, which is
128 + N if signal N ended it.

The guard is run by its path and uses only the standard library, so it starts fast and depends on no environment.
"""

import argparse
import contextlib
import ctypes
import os
import pwd
import selectors
import signal
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path

IS_LINUX = sys.platform == "linux"

# <linux/prctl.h>, <linux/securebits.h>, <linux/capability.h>
PR_SET_PDEATHSIG = 1
PR_SET_SECUREBITS = 28
PR_SET_CHILD_SUBREAPER = 36
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
SECBIT_NO_SETUID_FIXUP = 4
CAP_DAC_OVERRIDE = 1
CAPABILITY_VERSION_3 = 0x20080522

CANNOT_EXECUTE = 127


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--stop-signal", type=int, default=signal.SIGTERM)
    parser.add_argument("--grace-seconds", type=float, default=10)
    parser.add_argument("--unprivileged", action="store_true", help="if run as root, run the server as another user")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()

    with wake_on_signals(signal.SIGTERM, signal.SIGINT, signal.SIGCHLD) as wake_fd:
        adopt_orphans()
        server = start(options.command, unprivileged=options.unprivileged and os.geteuid() == 0)
        announce(server)
        status = watch(server, wake_fd, options.stop_signal, options.grace_seconds)
    kill_leftovers(server)
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def watch(server: int, wake_fd: int, stop_signal: int, grace_seconds: float) -> int:
    """Waits for the server's end, and stops it when the launcher is gone or asks for it. Returns its wait status."""
    with selectors.DefaultSelector() as selector:
        selector.register(sys.stdin.fileno(), selectors.EVENT_READ)
        selector.register(wake_fd, selectors.EVENT_READ)
        kill_at: float | None = None
        while (status := reap(server)) is None:
            timeout = None if kill_at is None else max(0, kill_at - time.monotonic())
            events = selector.select(timeout)
            if kill_at is None and any(is_stop_request(key.fd, wake_fd) for key, _ in events):
                # Once the launcher has closed its end, this end of the pipe always counts as readable.
                selector.unregister(sys.stdin.fileno())
                kill_at = time.monotonic() + grace_seconds
                # Only to the server itself: it knows best in which order its own processes have to end.
                os.kill(server, stop_signal)
            elif kill_at is not None:
                drain(wake_fd)
                if time.monotonic() >= kill_at:
                    os.kill(server, signal.SIGKILL)
                    kill_at = time.monotonic() + grace_seconds
    return status


def is_stop_request(fd: int, wake_fd: int) -> bool:
    """Returns True for the end of standard input and for SIGTERM or SIGINT, False for the end of a child."""
    if fd == wake_fd:
        return any(number != signal.SIGCHLD for number in drain(wake_fd))
    return os.read(fd, 1024) == b""


def drain(wake_fd: int) -> bytes:
    """Returns the numbers of the signals that have arrived, one byte each."""
    with contextlib.suppress(BlockingIOError):
        return os.read(wake_fd, 1024)
    return b""


def reap(server: int) -> int | None:
    """Reaps every child that has ended, adopted ones too. Returns the server's wait status if it is among them."""
    server_status = None
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == server:
                server_status = ended[1]
    return server_status


def start(command: list[str], *, unprivileged: bool) -> int:
    """Starts the server in a process group of its own. Returns its process id as soon as it is no longer a copy of the guard.

    The guard's handlers would take a signal to the copy, and it would be lost.
    """
    guard = os.getpid()
    read_fd, write_fd = os.pipe()
    server = os.fork()
    if server:
        os.close(write_fd)
        # The other end closes when the program is executed, or cannot be executed.
        os.read(read_fd, 1)
        os.close(read_fd)
        return server
    try:
        os.setpgid(0, 0)
        # Python ignores SIGPIPE, and programs inherit that.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), sys.stdin.fileno())
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        if unprivileged:
            become_unprivileged()
        die_with(guard)
        os.execvp(command[0], command)  # noqa: S606
    except (OSError, LookupError) as error:
        os.write(sys.stderr.fileno(), f"{command[0]}: {error}\n".encode())
    finally:
        # This is a copy of the guard, and must never return into the guard's code.
        os._exit(CANNOT_EXECUTE)


def announce(server: int) -> None:
    """Tells the launcher the server's process id. The launcher may be gone already."""
    with contextlib.suppress(BrokenPipeError):
        os.write(sys.stdout.fileno(), f"{server}\n".encode())


def kill_leftovers(server: int) -> None:
    """Sends SIGKILL to everything that the ended server has left: its process group, and on Linux all its descendants.

    PostgreSQL's processes, for example, have sessions of their own. But orphans become the guard's children, and so do
    the children of a killed child, so no descendant is left when the guard has no child left.
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(server, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while True:
            for child in children_of(os.getpid()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            os.waitpid(-1, 0)


def children_of(parent: int) -> Iterator[int]:
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # "pid (name) state ppid …": the name may hold spaces and parentheses.
            fields = entry.read_text(errors="replace").rpartition(")")[2].split()
            if int(fields[1]) == parent:
                yield int(entry.parent.name)


@contextlib.contextmanager
def wake_on_signals(*numbers: int) -> Iterator[int]:
    """Yields a file descriptor that becomes readable when one of these signals arrives."""
    read_fd, write_fd = os.pipe()
    os.set_blocking(read_fd, False)
    os.set_blocking(write_fd, False)
    for number in numbers:
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(write_fd)
    try:
        yield read_fd
    finally:
        signal.set_wakeup_fd(-1)


def adopt_orphans() -> None:
    """Makes descendants whose parent ends children of the guard, not of init (Linux)."""
    if IS_LINUX:
        prctl(PR_SET_CHILD_SUBREAPER, 1)


def die_with(guard: int) -> None:
    """Has the server killed when the guard itself is killed (Linux)."""
    if IS_LINUX:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != guard:
            os._exit(CANNOT_EXECUTE)


def become_unprivileged() -> None:
    """Changes from root to the user `nobody`, who may still enter every folder.

    PostgreSQL refuses to run as root, and the project may lie in a folder that only root may enter. On Linux the process
    keeps the one capability that opens such folders. Without it, the server still works wherever `nobody` may enter.
    """
    user = pwd.getpwnam("nobody")
    libc = ctypes.CDLL(None, use_errno=True)
    # For setuid alone, PR_SET_KEEPCAPS would suffice. But access(2), which PostgreSQL uses to check its programs, ignores the
    # capabilities of users other than root unless this is set.
    keeps_capabilities = IS_LINUX and libc.prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0) == 0
    os.setgroups([])
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)
    if keeps_capabilities:
        mask = 1 << CAP_DAC_OVERRIDE
        header = struct.pack("Ii", CAPABILITY_VERSION_3, 0)
        # Effective, permitted, inheritable, then the same for the upper 32 capabilities.
        if libc.capset(header, struct.pack("6I", mask, mask, mask, 0, 0, 0)) == 0:
            libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE, 0, 0)


def prctl(option: int, argument: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, argument, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}, {argument}) failed")


if __name__ == "__main__":
    sys.exit(main())
