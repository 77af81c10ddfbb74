"""Whether this process can do its work now, and if not, what is missing. Names no host, URI or user."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from django.db import Error as DatabaseError

from changesource.errors import ChangeSourceError
from changesource.models import source_store, store
from changesource.mongo.source import inspect_source
from changesource.streaming.service import StreamService
from changesource.streaming.source_witness import SourceWitness

CHECK_SECONDS = 4.0


async def find_missing(service: StreamService) -> dict[str, str]:
    """What is missing, by name: `database`, `source <name>`, `identity <id>`, `app <id>`, `replicas <id>`. Empty when all is
    well."""
    publications = list(service.publications.values())
    checks: dict[str, Awaitable[str]] = {"database": _check_database()}
    for publication in publications:
        source = publication.definition.source
        checks[f"source {source}"] = _check_source(service, source)
        checks[f"identity {publication.app_id}"] = _check_identity(service, publication)
        checks[f"app {publication.app_id}"] = _check_watched(service, publication)
        checks[f"replicas {publication.app_id}"] = _check_replicas(publication.app_id)
    answers = await asyncio.gather(*(_in_time(check) for check in checks.values()))
    return {name: answer for name, answer in zip(checks, answers, strict=True) if answer}


async def _in_time(check: Awaitable[str]) -> str:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return await check
    except TimeoutError:
        return f"no answer within {CHECK_SECONDS:.0f} seconds"


async def _check_database() -> str:
    try:
        await store.latest_publications()
    except DatabaseError as error:
        return f"the Django database failed ({type(error).__name__})"
    return ""


async def _check_source(service: StreamService, source: str) -> str:
    try:
        await inspect_source(service.sources.database(source))
    except ChangeSourceError as error:
        return str(error)
    return ""


async def _check_identity(service: StreamService, publication: store.Publication) -> str:
    """Whether the app still trusts its source."""
    witness = SourceWitness(publication.app_id, publication.base_nonce)
    try:
        return await witness.doubt(service.sources.database(publication.definition.source))
    except (ChangeSourceError, DatabaseError):
        return ""  # as `source` and `database` say


async def _check_watched(service: StreamService, publication: store.Publication) -> str:
    try:
        leader = await service.log_of(publication).leader()
    except ChangeSourceError as error:
        return str(error)
    return "" if leader else "nobody watches it; run manage.py watch_changes"


async def _check_replicas(app_id: str) -> str:
    try:
        awaited = (await source_store.awaited_replicas()).get(app_id, [])
    except DatabaseError:
        return ""  # as `database` says
    return " ".join(
        f"Since {one.told_at:%H:%M:%S} UTC shard {one.shard_num} has to build a new replica: {one.reason}"
        for one in awaited
    )
