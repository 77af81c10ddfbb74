from collections.abc import Iterator

import pytest

from tests.authentication.issuer import KeyServer, key_server


@pytest.fixture
def keys_at_url() -> Iterator[KeyServer]:
    with key_server() as server:
        yield server
