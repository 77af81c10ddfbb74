"""Asks a vulnerability service about every installed package: `make audit ARGS="-s osv"`, with any options of pip-audit.

The exit status is 1 if there is a known vulnerability that is not in `audit-ignored.txt`, or if pip-audit itself fails. It is
0 otherwise, also if the service cannot be reached; a line then says so.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

IGNORED = Path(__file__).with_name("audit-ignored.txt")
KNOWN_SECONDS, ALL_SECONDS = 60, 240
"""How long to wait for the answer about one package, and about all packages."""
KNOWN = "pip==24.0"
"""A package that every service knows. It is asked about first, so that a mirror without the service is not asked about each
package."""
NOT_OURS = frozenset({"pip", "setuptools"})
"""Python creates environments with these. The project does not run them."""
UNREACHABLE = re.compile(
    r"ConnectionError|ConnectTimeout|ReadTimeout|ServiceError|Could not connect|SSLError|HTTPError"
)


class CannotAsk(Exception):
    """The service was not reached. The message says what happened instead."""


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--path", action="append", default=[])
    parser.add_argument("--ignored", type=Path, default=IGNORED)
    ours, options = parser.parse_known_args(arguments)
    try:
        ignored = read_ignored(ours.ignored.read_text())
        packages = ask_about_all(options, ours.path)
    except CannotAsk as error:
        print(f"pip-audit: skipped, no vulnerability service was reached ({error}).")
        return 0
    except (ValueError, RuntimeError) as error:
        print(f"pip-audit: {error}", file=sys.stderr)
        return 1
    found = vulnerabilities(packages, ignored)
    for line in found:
        print(line, file=sys.stderr)
    if found:
        print(f"Upgrade, or add the id and the reason to {ours.ignored.name}.", file=sys.stderr)
        return 1
    print(f"pip-audit: {len(packages)} packages, no known vulnerability.")
    return 0


def read_ignored(text: str) -> Mapping[str, str]:
    """Returns id → reason. Raises `ValueError` for a line without a reason."""
    ignored = {}
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            name, _, reason = line.strip().partition(" ")
            if not reason.strip():
                raise ValueError(f"{name} is ignored without a reason. Write one after it.")
            ignored[name] = reason.strip()
    return ignored


def ask_about_all(options: Sequence[str], paths: Sequence[str]) -> list[dict[str, Any]]:
    """Returns what the service says about each installed package, or only about those under `paths` if there are any."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as requirements:
        requirements.write(f"{KNOWN}\n")
        requirements.flush()
        [known] = ask([*options, "--requirement", requirements.name, "--no-deps", "--disable-pip"], KNOWN_SECONDS)
    if "skip_reason" in known:
        raise CannotAsk(known["skip_reason"])
    packages = ask([*options, *(f"--path={path}" for path in paths)], ALL_SECONDS)
    return [package for package in packages if package["name"] not in NOT_OURS]


def ask(options: Sequence[str], limit_seconds: int) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off", *options]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit_seconds, check=False)
    except subprocess.TimeoutExpired:
        raise CannotAsk(f"no answer within {limit_seconds} seconds") from None
    try:
        return list(json.loads(done.stdout)["dependencies"])
    except (ValueError, KeyError):
        last = done.stderr.strip().rpartition("\n")[2][:200]
        if UNREACHABLE.search(done.stderr):
            raise CannotAsk(last) from None
        raise RuntimeError(f"it failed: {last or done.stdout[:200]}") from None


def vulnerabilities(packages: Sequence[Mapping[str, Any]], ignored: Mapping[str, str]) -> list[str]:
    """Returns a line for each vulnerability that is not ignored by its id or by an alias."""
    lines = []
    for package in packages:
        for found in package.get("vulns", ()):
            if not ignored.keys() & {found["id"], *found.get("aliases", ())}:
                fixed = ", ".join(found.get("fix_versions", ())) or "no version yet"
                lines.append(f"{package['name']} {package['version']}: {found['id']}, fixed in {fixed}")
    return lines


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
