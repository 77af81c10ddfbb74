"""Exit statuses of the commands that run until they are told to stop, and of `check_source`."""

from pathlib import Path

import pytest

from tests.e2e.conftest import Deploy
from tests.e2e.workload import SCHEMA
from tests.embedded.waiting import wait_until
from zerosources.embedded.project import ServeCommand
from zerosources.embedded.server import ServerError
from zerosources.embedded.servers import MongoServer


def test_a_port_that_is_taken_ends_the_server(deploy: Deploy) -> None:
    """Status 1 and the reason, not a server that listens to nothing."""
    deployment = deploy(SCHEMA)
    first = deployment.serve()
    second = ServeCommand(deployment.folder / "second", environment=deployment.environment, port=first.port)
    deployment.stack.callback(second.stop)
    second.start(wait=False)  # at its port the first one answers
    wait_until(lambda: not second.is_running)
    assert second.exit_status == 1
    assert "Address already in use" in second.log_tail()


def test_watching_needs_redis(deploy: Deploy) -> None:
    """Without it nobody could read what is watched."""
    with pytest.raises(ServerError, match="REDIS_URL is not set"):
        deploy(SCHEMA).manage("watch_changes")


def test_check_source_of_a_replica_set(deploy: Deploy) -> None:
    """Status 0, with the version and the kind of deployment."""
    output = deploy(SCHEMA).manage("check_source")
    assert output.startswith("Source default: usable")
    assert "server: MongoDB 8" in output


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("mongodb://user:secret@127.0.0.1:1/shop?replicaSet=none", "CS103"),
        ("mongodb://127.0.0.1:1/", "E002"),
        ("nonsense", "E002"),
        ("", "CS101"),
    ],
)
def test_check_source_of_what_is_no_source(deploy: Deploy, uri: str, reason: str) -> None:
    """Status 1 with the reason and without the URI."""
    deployment = deploy(SCHEMA)
    deployment.environment["MONGODB_URI"] = uri
    with pytest.raises(ServerError, match=reason) as failed:
        deployment.manage("check_source")
    assert "secret" not in str(failed.value)


def test_check_source_of_a_standalone(deploy: Deploy, run_dir: Path) -> None:
    """Refused with the remedy: it has no change streams."""
    deployment = deploy(SCHEMA)
    with MongoServer(run_dir / "standalone", standalone=True) as standalone:
        deployment.environment["MONGODB_URI"] = standalone.uri("shop")
        with pytest.raises(ServerError, match=r"standalone.*--replSet"):
            deployment.manage("check_source")
