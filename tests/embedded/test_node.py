"""node.py: Node and the npm packages are installed once and as pinned."""

import json
import subprocess
import threading
from pathlib import Path

import pytest

from zerosources.embedded import node

SOURCE_DIR = Path(node.__file__).parent


@pytest.fixture
def installs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    """The installations that have been made, into an empty place and without npm."""
    made: list[Path] = []

    def install() -> None:
        node.PACKAGE_DIR.mkdir(exist_ok=True)
        made.append(node.PACKAGE_DIR)

    monkeypatch.setattr(node, "EMBEDDED_DIR", tmp_path)
    monkeypatch.setattr(node, "PACKAGE_DIR", tmp_path / "node")
    monkeypatch.setattr(node, "install", install)
    return made


def test_node_is_the_wheels() -> None:
    """Node is the version that the requirements pin, whatever this machine has."""
    done = subprocess.run([str(node.node_executable()), "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("v24.")


def test_node_comes_first_in_path() -> None:
    """Programs that look for `node` find the wheel's."""
    assert node.node_environment()["PATH"].startswith(f"{node.node_executable().parent}:")


def test_packages_are_installed() -> None:
    """The installed zero-cache is the pinned version."""
    package = json.loads((node.ensure_packages() / "@rocicorp" / "zero" / "package.json").read_text())
    pinned = json.loads((SOURCE_DIR / "package.json").read_text())["dependencies"]["@rocicorp/zero"]
    assert package["version"] == pinned == "1.9.0"


def test_lock_file_names_no_registry() -> None:
    """Any registry serves: the lock file has hashes and no addresses."""
    packages = json.loads((SOURCE_DIR / "package-lock.json").read_text())["packages"]
    assert [name for name, package in packages.items() if "resolved" in package] == []
    assert [name for name, package in packages.items() if name and "integrity" not in package] == []


def test_second_time_installs_nothing(installs: list[Path]) -> None:
    """What is installed is left alone."""
    assert node.ensure_packages() == node.ensure_packages() == node.PACKAGE_DIR / "node_modules"
    assert len(installs) == 1


def test_changed_pins_install_again(installs: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Another lock file means another installation."""
    node.ensure_packages()
    monkeypatch.setattr(node, "pinned_hash", lambda: "another")
    node.ensure_packages()
    assert len(installs) == 2


def test_several_at_once(installs: list[Path]) -> None:
    """One of several installs, the others wait for it."""
    threads = [threading.Thread(target=node.ensure_packages) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(installs) == 1


def test_failed_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The error holds what npm has said, and the next attempt starts from nothing."""
    monkeypatch.setattr(node, "EMBEDDED_DIR", tmp_path)
    monkeypatch.setattr(node, "PACKAGE_DIR", tmp_path / "node")
    monkeypatch.setattr(node, "PINNED_FILES", ("package.json",))
    with pytest.raises(node.NodePackagesError, match=r"npm ci ended with status 1:[\s\S]*package-lock\.json"):
        node.ensure_packages()
    assert not (node.PACKAGE_DIR / "installed").exists()
