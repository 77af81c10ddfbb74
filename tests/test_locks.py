"""The lock files hold what the requirements name, all that this needs, and nothing else, each with its hashes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PAIRS = [("requirements.txt", "requirements.lock"), ("requirements-dev.txt", "requirements-dev.lock")]


def named(path: str) -> dict[str, str]:
    """Name → pinned version of each requirement that people have written, those of included files too."""
    found: dict[str, str] = {}
    for line in (ROOT / path).read_text().splitlines():
        text = line.partition("#")[0].strip()
        if text.startswith("-r "):
            found |= named(text[3:])
        elif text:
            requirement = Requirement(text)
            [specifier] = requirement.specifier
            assert specifier.operator == "==", text
            found[canonicalize_name(requirement.name)] = specifier.version
    return found


def locked(path: str) -> list[tuple[Requirement, list[str], str]]:
    """Each locked requirement with its hashes and the comment that says what needs it."""
    found = []
    for block in re.split(r"\n(?=\S)", (ROOT / path).read_text().strip()):
        requirement = Requirement(block.partition("\\")[0].strip())
        found.append((requirement, re.findall(r"--hash=sha256:[0-9a-f]{64}\b", block), block.partition("# via")[2]))
    return found


@pytest.mark.parametrize(("requirements", "lock"), PAIRS)
def test_lock_matches_requirements(requirements: str, lock: str) -> None:
    """Each named package is locked in its version; what nothing needs any more is gone. Otherwise run `make lock`."""
    versions = named(requirements)
    entries = locked(lock)
    assert versions.items() <= {
        (canonicalize_name(entry.name), str(entry.specifier).removeprefix("==")) for entry, _, _ in entries
    }
    by_us = {canonicalize_name(entry.name) for entry, _, via in entries if "-r requirements" in via}
    assert by_us == set(versions)


@pytest.mark.parametrize("lock", [lock for _, lock in PAIRS])
def test_hashes(lock: str) -> None:
    """Each entry is pinned and has the hashes of its files; no index, address or path of a machine is in the file."""
    for entry, hashes, via in locked(lock):
        assert str(entry.specifier).startswith("=="), entry
        assert hashes, entry
        assert via.strip(), entry
    assert not re.search(r"https?:|file:|--\S*(index|find-links)|/(home|opt|root|tmp)/", (ROOT / lock).read_text())


def test_same_versions() -> None:
    """What is tested is what runs."""
    tested = {str(entry) for entry, _, _ in locked("requirements-dev.lock")}
    assert {str(entry) for entry, _, _ in locked("requirements.lock")} <= tested


def test_image_installs_the_lock() -> None:
    """The image and the environment of development take nothing whose hash is not known."""
    for path in ("docker/Dockerfile", "Makefile"):
        installs = [
            line for line in (ROOT / path).read_text().splitlines() if "pip install" in line and ".lock" in line
        ]
        assert installs, path
        assert all("--require-hashes --only-binary :all:" in line for line in installs), path


@pytest.mark.parametrize("path", ["docker/Dockerfile", "docker/compose.yaml"])
def test_images_by_digest(path: str) -> None:
    """Each image that is not built here is named by a digest as well as a tag."""
    images = re.findall(r"^(?:FROM|\s+image:) (\S+)", (ROOT / path).read_text(), re.MULTILINE)
    foreign = [image for image in images if image != "zero-sources-django"]
    assert foreign
    for image in foreign:
        assert re.fullmatch(r"[a-z/]+:[\w.-]+@sha256:[0-9a-f]{64}", image), image
