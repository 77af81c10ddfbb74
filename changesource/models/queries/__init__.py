"""What the streams ask of the Django database, by noun. Queries are coroutine functions that return
plain data.

Each runs one query or one transaction in a thread of `models.database_threads`, and raises
`django.db.Error` when the database does not answer; the next query then replaces the connection.
Cancelling one lets a query that has begun run to its end. Code that is not asynchronous calls
`.blocking(...)`.
"""

from changesource.models.queries import (
    access,
    audit,
    awaited_replicas,
    client_changes,
    clients,
    credentials,
    pruning,
    published,
    refusals,
    replicas,
    row_errors,
    snapshots,
    sources,
)

__all__ = [
    "access",
    "audit",
    "awaited_replicas",
    "client_changes",
    "clients",
    "credentials",
    "pruning",
    "published",
    "refusals",
    "replicas",
    "row_errors",
    "snapshots",
    "sources",
]
