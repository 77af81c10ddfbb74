"""log_follower.py: each line once."""

from pathlib import Path

from zerosources.embedded.log_follower import LogFollower


def test_new_lines(tmp_path: Path) -> None:
    """Lines come once, from the beginning, and only when they are complete."""
    path = tmp_path / "log"
    follower = LogFollower(path)
    assert follower.new_lines() == []
    with path.open("ab", buffering=0) as log:
        log.write(b"one\ntwo\nthr")
        assert follower.new_lines() == ["one", "two"]
        assert follower.new_lines() == []
        log.write(b"ee \xff\n\n")
        assert follower.new_lines() == ["three \ufffd", ""]
        assert follower.new_lines() == []
