"""Named queries of one deployment, answered for what its replicas can run.

The deployment is a client of ours, and its replicas are what our streams have made of them. So the names, and the rules, are
those of the version in force; and an AST is only given if every replica has what it names:

    published        version 6 ──────────── version 7 ─────────────────────────────
    replica          version 6 ───────────────────── version 7 ────────────────────
    queries over     6              7, and only what 6 has │ 7
                                                           └ acknowledged, and noted

zero-cache would run an AST that comes early on a replica without the table, and stop the client group with all its queries.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from changesource.errors import DeploymentRefused, UnknownVersion
from changesource.models.database_threads import NAMED_QUERIES
from changesource.models.queries.access import ClientInApp, Entitlements, read_entitlements
from changesource.models.queries.clients import Identity
from changesource.models.queries.published import load_definition, stored_versions
from changesource.models.queries.replicas import recent_replicas
from changesource.protocol.transforms import Answer, QueryRequest, parse_transform, query_response
from changesource.protocol.watermarks import Position
from changesource.publishing.client_view import Access, shown_definition
from changesource.queries.registry import Caller, registry
from changesource.queries.transform import ReplicaTables, Transformed, Transformer, replica_tables
from changesource.replication.version_history import number_in_force
from changesource.tables.definition import AppDefinition

logger = logging.getLogger(__name__)

MAX_DEPLOYMENTS = 64
"""For how many deployments a process keeps what it has worked out. Others are worked out again for each request."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """A zero-cache that asks: the client whose credential it has, its app, and which shard it is."""

    identity: Identity
    app_id: str
    shard_num: int

    def __str__(self) -> str:
        return f"{self.app_id}/{self.shard_num}"


def deployment_of(identity: Identity, app_id: str, schema: str) -> Deployment:
    """The deployment that `appID` and `schema` of the URL name: `schema` is `<app id>_<shard>`.

    Raises `DeploymentRefused`.
    """
    match = re.fullmatch(rf"{re.escape(app_id)}_(0|[1-9][0-9]{{0,8}})", schema)
    if not app_id or match is None:
        raise DeploymentRefused("The URL has no appID and schema as zero-cache appends them. Let zero-cache ask.")
    return Deployment(identity, app_id, int(match[1]))


class QueryCounters:
    """How often, and for how many seconds in all, each query was asked for. Any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str, str]] = Counter()
        self._seconds: defaultdict[tuple[str, str, str], float] = defaultdict(float)

    def add(self, app_id: str, transformed: Sequence[Transformed]) -> None:
        with self._lock:
            for each in transformed:
                key = (app_id, each.name, each.outcome)
                self._counts[key] += 1
                self._seconds[key] += each.seconds

    def read(self) -> dict[tuple[str, str, str], tuple[int, float]]:
        """(App, name of the query, outcome) → how often, and seconds in all. A name that no query has is empty."""
        with self._lock:
            return {key: (count, self._seconds[key]) for key, count in self._counts.items()}


counters = QueryCounters()
"""The named queries of this process."""


@NAMED_QUERIES.query
def answer_request(deployment: Deployment, body: bytes, caller: Caller, asked_at: float) -> bytes:
    """The answer to the whole request of zero-cache, for a user of the deployment. `asked_at` is the time of
    `time.monotonic` when it came.

    Raises `InvalidTransform` for a body that is no request, and what `answer_queries` raises.
    """
    return query_response(caller.user_id, answer_queries(deployment, parse_transform(body), caller, asked_at))


def answer_queries(
    deployment: Deployment, queries: Sequence[QueryRequest], caller: Caller, asked_at: float
) -> list[Answer]:
    """An answer to each of `queries`, in their order. Queries the database, unless that was done for another request of the
    deployment after `asked_at`.

    Raises `DeploymentRefused` if the deployment may not have the app, and `django.db.Error`.
    """
    began = time.perf_counter()
    transformed = _transformers.of(deployment, asked_at).transform(queries, caller)
    counters.add(deployment.app_id, transformed)
    outcomes = Counter(each.outcome for each in transformed)
    logger.info(
        "%s: %d named queries for client %s: %d with an AST, %d refused, %d failed, in %.1f ms",
        deployment,
        len(queries),
        deployment.identity.name,
        outcomes["ast"],
        outcomes["refused"],
        outcomes["failed"],
        (time.perf_counter() - began) * 1000,
    )
    return [each.answer for each in transformed]


@dataclass(frozen=True, slots=True)
class _View:
    """What is seen of the version with this nonce by a client with this access (JSON), if it asked for these publications."""

    nonce: str
    access: str
    publications: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Basis:
    """What the answers for a deployment depend on: its view of the version in force, and the views that its replicas have."""

    newest: _View
    replicas: tuple[_View, ...]


@dataclass(frozen=True, slots=True)
class _Made:
    """A transformer, and what it was made for: the basis that was read at this time of `time.monotonic`, or later."""

    read_at: float
    basis: _Basis
    transformer: Transformer


class _Transformers:
    """The transformers of deployments. They belong to the thread that answers.

    What was read after a request had come is new enough for it. So the requests that wait for the thread, which are hundreds
    after a publish, share what is read for the first of them.
    """

    def __init__(self) -> None:
        self._made: OrderedDict[tuple[int, int | None, str, int], _Made] = OrderedDict()

    def of(self, deployment: Deployment, asked_at: float) -> Transformer:
        # Whether the deployment is refused depends on the credential, too.
        identity = deployment.identity
        key = (identity.client_id, identity.credential_id, deployment.app_id, deployment.shard_num)
        known = self._made.get(key)
        if known is None or known.read_at < asked_at:
            read_at = time.monotonic()
            basis = _basis_of(deployment)
            if known is not None and known.basis == basis:
                transformer = known.transformer
            else:
                transformer = Transformer(_seen(basis.newest), map(_tables_of, basis.replicas), registry)
            known = self._made[key] = _Made(read_at, basis, transformer)
        self._made.move_to_end(key)
        if len(self._made) > MAX_DEPLOYMENTS:
            self._made.popitem(last=False)
        return known.transformer


_transformers = _Transformers()


def _basis_of(deployment: Deployment) -> _Basis:
    entitlements = _entitlements_of(deployment)
    versions = stored_versions.blocking(deployment.app_id)
    in_force = [version for version in versions if version.cluster_time is not None]
    if not in_force:
        raise DeploymentRefused("The app that the URL names has no published version.")
    nonces = {version.number: version.nonce for version in in_force}
    accesses = {stored.number: stored.access for stored in entitlements.versions}
    replicas = recent_replicas.blocking(deployment.app_id, deployment.shard_num, deployment.identity.client_id)
    views = []
    for replica in replicas:
        position = Position.from_watermark(replica.acknowledged or replica.snapshot_end)
        try:
            number = number_in_force(in_force, position)
            access = number_in_force(entitlements.versions, position)
        except UnknownVersion:
            continue  # this replica is about to be built again
        views.append(_View(nonces[number], accesses[access], replica.publications))
    publications = replicas[0].publications if replicas else ()
    # Of a publish that is under way, too: zero-cache keeps an AST for seconds, and may have the version by then.
    views += [_View(each.nonce, entitlements.wanted, publications) for each in versions if each.cluster_time is None]
    return _Basis(_View(in_force[-1].nonce, entitlements.wanted, publications), tuple(dict.fromkeys(views)))


def _entitlements_of(deployment: Deployment) -> Entitlements:
    client_id = deployment.identity.client_id
    entitlements = read_entitlements.blocking([client_id]).get(ClientInApp(client_id, deployment.app_id))
    if entitlements is None or not entitlements.admits(deployment.identity):
        raise DeploymentRefused("It may not read the app that the URL names.")
    if not entitlements.may_be_shard(deployment.shard_num):
        raise DeploymentRefused("It may not be the shard that the URL names.")
    return entitlements


def _seen(view: _View) -> AppDefinition:
    return shown_definition(_definition(view.nonce), Access.from_json(view.access), view.publications)


def _tables_of(view: _View) -> ReplicaTables:
    return replica_tables(_seen(view))


@lru_cache(maxsize=64)
def _definition(nonce: str) -> AppDefinition:
    """A version never changes."""
    return load_definition.blocking(nonce)
