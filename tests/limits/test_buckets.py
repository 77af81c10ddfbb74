import time
from concurrent.futures import ThreadPoolExecutor

from changesource.limits.buckets import TokenBuckets


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_minutes_worth_may_come_at_once_and_no_more() -> None:
    """The bucket is full at first."""
    buckets = TokenBuckets(3, clock=Clock())
    assert [buckets.take("a") for _ in range(4)] == [True, True, True, False]


def test_a_bucket_fills_evenly() -> None:
    """Three a minute is one every twenty seconds, and never more than three at once."""
    clock = Clock()
    buckets = TokenBuckets(3, clock=clock)
    assert all(buckets.take("a") for _ in range(3))
    clock.now = 19
    assert not buckets.take("a")
    clock.now = 20
    assert buckets.take("a")
    clock.now = 10_000
    assert [buckets.take("a") for _ in range(4)] == [True, True, True, False]


def test_each_key_has_its_own_bucket() -> None:
    """A key that takes too much affects no other."""
    buckets = TokenBuckets(1, clock=Clock())
    assert buckets.take("a")
    assert not buckets.take("a")
    assert buckets.take("b")


def test_the_number_of_buckets_is_bounded() -> None:
    """The least recently used one is dropped."""
    buckets = TokenBuckets(1, max_buckets=2, clock=Clock())
    for key in ("a", "b", "a", "c"):
        buckets.take(key)
    assert len(buckets) == 2
    assert not buckets.take("a")
    assert buckets.take("b")


def test_zero_is_no_limit() -> None:
    """And nothing is kept."""
    buckets = TokenBuckets(0)
    assert all(buckets.take("a") for _ in range(1000))
    assert len(buckets) == 0


def test_the_time_to_wait_is_in_whole_seconds() -> None:
    """Until the next token, and at least one second."""
    clock = Clock()
    buckets = TokenBuckets(3, clock=clock)
    assert buckets.seconds_until_free("a") == 1
    for _ in range(4):
        buckets.take("a")
    assert buckets.seconds_until_free("a") == 20
    clock.now = 19.5
    buckets.take("a")
    assert buckets.seconds_until_free("a") == 1


class SlowKey(str):
    """Lets other threads run whenever it is hashed."""

    def __hash__(self) -> int:
        time.sleep(1e-5)
        return super().__hash__()


def test_buckets_are_thread_safe() -> None:
    """Django's threads share the buckets of log-ins, and one may drop a bucket that another has
    just found."""
    buckets = TokenBuckets(1_000, max_buckets=1, clock=Clock())
    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(lambda i: buckets.take(SlowKey(i % 2)), range(400)))
    assert len(buckets) == 1
