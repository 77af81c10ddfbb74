"""Django's password hasher over the digests of tokens: some tenths of a second each, so it runs once for each credential."""

from __future__ import annotations

import asyncio
import hmac
import threading
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from django.contrib.auth.hashers import make_password, verify_password

MAX_AT_ONCE = 2
"""Hashing lets other threads run, so this many processors at most are busy with it while all clients come back."""
MAX_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Proof:
    """Whether the hash is that of the digest. `better_hash` is one to store instead, if Django's hasher has other settings
    now than when the hash was made."""

    is_right: bool
    better_hash: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class _Question:
    credential_id: int
    hash: str = field(repr=False)
    digest: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Answer:
    """Also a wrong one is kept: who has a wrong row comes back every 25 ms as well."""

    hashes: tuple[str, ...]
    digest: str
    is_right: bool

    def is_to(self, question: _Question) -> bool:
        known_hash = [hmac.compare_digest(known.encode(), question.hash.encode()) for known in self.hashes]
        return any(known_hash) & hmac.compare_digest(self.digest.encode(), question.digest.encode())


class SlowHash:
    """Remembers in this process what it has proven, by credential, hash and digest. Any event loop may use it."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(MAX_AT_ONCE, thread_name_prefix="slow-hash")
        self._lock = threading.Lock()
        self._answers: OrderedDict[int, _Answer] = OrderedDict()
        self._running: dict[_Question, Future[Proof]] = {}

    async def prove(self, credential_id: int, hash: str, digest: str) -> Proof:
        """Whether `digest` is that of the token whose `hash` is stored. Who asks the same at the same time shares the answer;
        cancelling one leaves the others theirs."""
        question = _Question(credential_id, hash, digest)
        with self._lock:
            answer = self._answers.get(credential_id)
            if answer is not None and answer.is_to(question):
                self._answers.move_to_end(credential_id)
                return Proof(answer.is_right)
            running = self._running.get(question)
            if running is None:
                running = self._running[question] = self._executor.submit(self._prove, question)
        return await asyncio.shield(asyncio.wrap_future(running))

    def _prove(self, question: _Question) -> Proof:
        try:
            proof = _proof_of(question)
            # The old hash stays known: a database that only reads for now keeps it.
            hashes = (question.hash, proof.better_hash) if proof.better_hash else (question.hash,)
            with self._lock:
                self._answers[question.credential_id] = _Answer(hashes, question.digest, proof.is_right)
                self._answers.move_to_end(question.credential_id)
                if len(self._answers) > MAX_REMEMBERED:
                    self._answers.popitem(last=False)
            return proof
        finally:
            with self._lock:
                del self._running[question]


def _proof_of(question: _Question) -> Proof:
    is_right, must_update = verify_password(question.digest, question.hash)
    return Proof(is_right, make_password(question.digest) if is_right and must_update else None)
