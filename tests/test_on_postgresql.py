"""What asks the Django database, once more with PostgreSQL, on which production runs: elsewhere the tests take SQLite."""

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from zerosources.embedded.servers import PostgresServer

pytestmark = pytest.mark.not_fast

FOLDERS = ("models", "admin", "publishing")
TESTS = Path(__file__).parent


@pytest.mark.timeout(900)
def test_models_admin_and_publishing(postgres_server: PostgresServer) -> None:
    """The tests of these folders that ask the Django database pass on PostgreSQL as well."""
    url = postgres_server.create_database(f"django_{uuid.uuid4().hex}")
    # No server of this run is theirs; "auto" would spread them over processes that have none.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    run = subprocess.run(
        # The test database ends with its server: PostgreSQL deletes none in which threads have connections.
        [sys.executable, "-m", "pytest", "-q", "--reuse-db", "-p", "no:cacheprovider", "-p", "no:xdist", *FOLDERS],
        cwd=TESTS,
        env={**environment, "TEST_DATABASE_URL": url},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert run.returncode == 0, run.stdout
