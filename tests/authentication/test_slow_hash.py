"""changesource/authentication/slow_hash.py"""

import asyncio
import threading
from typing import Any

import pytest
from django.contrib.auth.hashers import MD5PasswordHasher, PBKDF2PasswordHasher, identify_hasher, make_password

from changesource.authentication import slow_hash
from changesource.authentication.slow_hash import MAX_AT_ONCE, SlowHash

DIGEST, OTHER = "d" * 64, "e" * 64


class CountingHasher(MD5PasswordHasher):
    """Counts, and waits for `may_end`."""

    algorithm = "counting"
    lock = threading.Lock()
    may_end = threading.Event()
    has_begun = threading.Semaphore(0)
    threads: list[str] = []
    running = most_at_once = 0

    def verify(self, password: str, encoded: str) -> bool:
        cls = CountingHasher
        with cls.lock:
            cls.threads.append(threading.current_thread().name)
            cls.running += 1
            cls.most_at_once = max(cls.most_at_once, cls.running)
        cls.has_begun.release()
        cls.may_end.wait(30)
        with cls.lock:
            cls.running -= 1
        return super().verify(password, encoded)


class FewerIterations(PBKDF2PasswordHasher):
    iterations = 2


class MoreIterations(PBKDF2PasswordHasher):
    iterations = 3


@pytest.fixture(autouse=True)
def hasher(settings: Any) -> type[CountingHasher]:
    settings.PASSWORD_HASHERS = [f"{__name__}.CountingHasher"]
    CountingHasher.threads, CountingHasher.most_at_once = [], 0
    CountingHasher.has_begun = threading.Semaphore(0)
    CountingHasher.may_end.set()
    return CountingHasher


async def test_once_a_credential(hasher: type[CountingHasher]) -> None:
    """A retry loop costs one hash, in a thread that is not the database's."""
    hashed, stored = SlowHash(), make_password(DIGEST)
    assert [(await hashed.prove(1, stored, DIGEST)).is_right for _ in range(100)] == [True] * 100
    assert len(hasher.threads) == 1
    assert hasher.threads[0].startswith("slow-hash")


async def test_wrong_digest(hasher: type[CountingHasher]) -> None:
    """A wrong answer is remembered as well, and only for what was asked."""
    hashed, stored = SlowHash(), make_password(DIGEST)
    assert [(await hashed.prove(1, stored, OTHER)).is_right for _ in range(10)] == [False] * 10
    assert len(hasher.threads) == 1
    assert (await hashed.prove(1, stored, DIGEST)).is_right


async def test_other_credential_or_hash(hasher: type[CountingHasher]) -> None:
    """What was proven for one row says nothing of another, nor of the same after its hash was replaced."""
    hashed, stored = SlowHash(), make_password(DIGEST)
    assert (await hashed.prove(1, stored, DIGEST)).is_right
    assert not (await hashed.prove(1, make_password(OTHER), DIGEST)).is_right
    assert not (await hashed.prove(2, make_password(OTHER), DIGEST)).is_right
    assert len(hasher.threads) == 3


@pytest.mark.parametrize("stored", ["", "!", "nonsense", "unknown$1$2$3", "\ud800ä"])
async def test_hash_that_is_none(stored: str) -> None:
    """A row that somebody has spoilt proves nothing."""
    assert not (await SlowHash().prove(1, stored, DIGEST)).is_right


async def test_same_question_at_the_same_time(hasher: type[CountingHasher]) -> None:
    """A hundred connections of one client share one hash; one that is cancelled takes nothing from the others."""
    hashed, stored = SlowHash(), make_password(DIGEST)
    hasher.may_end.clear()
    tasks = [asyncio.create_task(hashed.prove(1, stored, DIGEST)) for _ in range(100)]
    await asyncio.to_thread(hasher.has_begun.acquire, timeout=30)
    tasks[0].cancel()
    hasher.may_end.set()
    proofs = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(proofs[0], asyncio.CancelledError)
    assert all(proof.is_right for proof in proofs[1:])
    assert len(hasher.threads) == 1


async def test_cancelled_before_its_turn(hasher: type[CountingHasher]) -> None:
    """Who gives up while the hash waits for its turn takes it from nobody else."""
    hashed, stored = SlowHash(), make_password(DIGEST)
    hasher.may_end.clear()
    busy = [asyncio.create_task(hashed.prove(number, stored, DIGEST)) for number in range(MAX_AT_ONCE)]
    for _ in busy:
        await asyncio.to_thread(hasher.has_begun.acquire, timeout=30)
    waiting = [asyncio.create_task(hashed.prove(100, stored, DIGEST)) for _ in range(2)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.wait(waiting[:1])
    hasher.may_end.set()
    assert (await waiting[1]).is_right
    assert all(proof.is_right for proof in await asyncio.gather(*busy))


async def test_few_at_once(hasher: type[CountingHasher]) -> None:
    """Many clients that come back together keep no more than a few threads busy."""
    hashed, stored = SlowHash(), make_password(DIGEST)
    hasher.may_end.clear()
    tasks = [asyncio.create_task(hashed.prove(number, stored, DIGEST)) for number in range(20)]
    for _ in range(MAX_AT_ONCE):
        await asyncio.to_thread(hasher.has_begun.acquire, timeout=30)
    hasher.may_end.set()
    assert all(proof.is_right for proof in await asyncio.gather(*tasks))
    assert hasher.most_at_once == MAX_AT_ONCE


async def test_memory_is_bounded(hasher: type[CountingHasher], monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not asked for longest is forgotten first."""
    monkeypatch.setattr(slow_hash, "MAX_REMEMBERED", 2)
    hashed, stored = SlowHash(), make_password(DIGEST)
    for credential_id in (1, 2, 1, 3, 1):
        await hashed.prove(credential_id, stored, DIGEST)
    assert len(hasher.threads) == 3
    await hashed.prove(2, stored, DIGEST)
    assert len(hasher.threads) == 4


async def test_better_hash(settings: Any) -> None:
    """With other parameters of the hasher a right digest gives a new hash, once; both stay known."""
    settings.PASSWORD_HASHERS = [f"{__name__}.FewerIterations"]
    hashed, stored = SlowHash(), make_password(DIGEST)
    settings.PASSWORD_HASHERS = [f"{__name__}.MoreIterations"]
    assert (await SlowHash().prove(1, stored, OTHER)).better_hash is None
    better = (await hashed.prove(1, stored, DIGEST)).better_hash
    assert better is not None
    assert identify_hasher(better).decode(better)["iterations"] == 3
    assert [(await hashed.prove(1, each, DIGEST)).better_hash for each in (stored, better)] == [None, None]
