"""run.py: what `make run` keeps, shows and refuses."""

import stat
from pathlib import Path

import pytest

from zerosources.embedded.run import acknowledged_commit, emptied, kept_secrets, only_one
from zerosources.embedded.server import ServerError


def test_acknowledged_commit() -> None:
    """The time and the message are shown."""
    line = "2026-01-31 12:30:59,123 INFO changesource.sessions.session acknowledged 13zz of sample by run-1"
    assert acknowledged_commit(line) == "12:30:59  acknowledged 13zz of sample by run-1"


@pytest.mark.parametrize(
    "line",
    [
        "",
        "Traceback (most recent call last):",
        "2026-01-31 12:30:59,123 INFO changesource.sessions.session started",
        "2026-01-31 12:30:59,123 INFO elsewhere acknowledged 13zz",
    ],
)
def test_other_lines(line: str) -> None:
    """Other lines of the log are not shown."""
    assert acknowledged_commit(line) is None


def test_secrets_are_kept(tmp_path: Path) -> None:
    """Secrets are made once, and only their owner may read them."""
    path = tmp_path / "secrets.json"
    made = kept_secrets(path)
    assert made.secret_key != made.admin_password
    assert kept_secrets(path) == made
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_only_one(tmp_path: Path) -> None:
    """A second run over the same folder is refused; a later one is not."""
    for _ in range(2):
        with (
            only_one(tmp_path / "run" / "lock"),
            pytest.raises(ServerError, match="Another run is using"),
            only_one(tmp_path / "run" / "lock"),
        ):
            pass


def test_emptied(tmp_path: Path) -> None:
    """Nothing of an earlier run is left."""
    (tmp_path / "replica" / "deep").mkdir(parents=True)
    assert not emptied(emptied(tmp_path / "replica")).exists()
