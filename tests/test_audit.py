"""`.ci/audit.py`, with the real pip-audit and a vulnerability service of our own."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from zerosources.embedded.ports import free_port

pytestmark = pytest.mark.not_fast

AUDIT = Path(__file__).resolve().parents[1] / ".ci" / "audit.py"
VULNERABILITY = {
    "id": "GHSA-demo",
    "aliases": ["CVE-2000-1"],
    "summary": "demo",
    "affected": [
        {
            "package": {"ecosystem": "PyPI", "name": "demo"},
            "versions": ["1.0"],
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.1"}]}],
        }
    ],
}


class Service(BaseHTTPRequestHandler):
    """Knows of one vulnerability, in the form of OSV."""

    def do_POST(self) -> None:
        query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = {"vulns": [VULNERABILITY]} if query["package"]["name"] == "demo" else {}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *args: object) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def service() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def installed(folder: Path, name: str) -> Path:
    """A folder in which version 1.0 of one package is installed."""
    information = folder / f"{name}-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    return folder


def audit(folder: Path, service: str, ignored: str = "") -> tuple[int, str]:
    """Exit status, and what was said."""
    ignored_path = folder.parent / "ignored.txt"
    ignored_path.write_text(ignored)
    options = ["--path", str(folder), "--ignored", str(ignored_path), "-s", "osv", "--osv-url", service]
    done = subprocess.run(
        [sys.executable, str(AUDIT), *options], capture_output=True, text=True, timeout=60, check=False
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


def test_a_known_vulnerability_fails(tmp_path: Path, service: str) -> None:
    """With the package, the id, the version to go to, and where to ignore it."""
    status, said = audit(installed(tmp_path / "packages", "demo"), service)
    assert status == 1
    assert "demo 1.0: CVE-2000-1, fixed in 1.1" in said
    assert "ignored.txt" in said


def test_it_can_be_ignored_by_any_of_its_names(tmp_path: Path, service: str) -> None:
    """With a reason."""
    status, said = audit(installed(tmp_path / "packages", "demo"), service, "CVE-2000-1 we do not call it\n")
    assert (status, said) == (0, "pip-audit: 1 packages, no known vulnerability.\n")


def test_not_without_a_reason(tmp_path: Path, service: str) -> None:
    """An id alone is refused."""
    status, said = audit(installed(tmp_path / "packages", "demo"), service, "# why\nCVE-2000-1\n")
    assert (status, said) == (1, "pip-audit: CVE-2000-1 is ignored without a reason. Write one after it.\n")


def test_a_service_that_is_away_is_one_line(tmp_path: Path) -> None:
    """And no failure."""
    status, said = audit(installed(tmp_path / "packages", "demo"), f"http://127.0.0.1:{free_port()}")
    assert status == 0
    assert said.startswith("pip-audit: skipped, no vulnerability service was reached")
    assert said.count("\n") == 1
