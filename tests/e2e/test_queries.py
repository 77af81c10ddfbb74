"""Named queries: zero-cache asks the endpoint, and real clients get the rows that the rules allow."""

import pytest

from tests.e2e.conftest import Deploy
from tests.e2e.test_permissions import NOTES, SCHEMA, ids
from tests.node.client import ZeroClient

pytestmark = pytest.mark.timeout(300)


def test_anonymous(deploy: Deploy) -> None:
    deployment = deploy(
        SCHEMA,
        permissions={"notes": {"select": [{"level": {"$gte": 2}}]}, "shares": {"select": [{}]}},
        DJANGO_SETTINGS_MODULE="tests.e2e.settings_with_queries",
    )
    deployment.database.notes.insert_many(NOTES)
    server = deployment.start()
    proxy = deployment.proxy(server)
    zero_cache = deployment.zero_cache(
        proxy,
        ZERO_QUERY_URL=f"{server.url}/api/zero/query",
        ZERO_QUERY_API_KEY=deployment.token,
        ZERO_MUTATE_URL=f"{server.url}/api/zero/mutate",
    )
    deployment.wait_until_equal(zero_cache)
    client = ZeroClient(zero_cache.url, SCHEMA, deployment.folder / "client.log")
    deployment.stack.enter_context(client)
    client.watch_named("all", "notes.all", [], "notes")
    client.wait_for_rows("all", lambda rows: ids(rows) == {"a2"})
