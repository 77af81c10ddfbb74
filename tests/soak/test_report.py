"""What the soak calls growth."""

import random

from tests.soak.lag import Lag
from tests.soak.report import Verdict, lag_table, table, verdicts
from tests.soak.samples import ProcessUse, RedisUse, Sample

SECONDS = range(300, 1800, 5)


def broken(samples: list[Sample], lags: list[Lag] | None = None) -> list[str]:
    """The texts of the verdicts that are broken."""
    found = verdicts(
        samples,
        {"stream": lags or steady_lags()},
        fractions={"stream": 0.99},
        ours=["serve-1"],
        rate=500,
        redis_max_megabytes=320,
    )
    return [verdict.text for verdict in found if not verdict.is_kept]


def steady_samples(
    *, megabytes_an_hour: float = 0, descriptors_an_hour: float = 0, log_megabytes: float = 256, rate: int = 500
) -> list[Sample]:
    dice = random.Random(1)
    return [
        Sample(
            float(seconds),
            rate * seconds,
            {
                "serve-1": ProcessUse(
                    90 + dice.random() + megabytes_an_hour * seconds / 3600,
                    int(20 + dice.randrange(3) + descriptors_an_hour * seconds / 3600),
                    5,
                    0.1 * seconds,
                ),
                "mongodb": ProcessUse(70 + seconds, 40, 30, 0.5 * seconds),
            },
            RedisUse(log_megabytes + 2, log_megabytes, 50_000),
        )
        for seconds in SECONDS
    ]


def steady_lags(growth: float = 1.0) -> list[Lag]:
    """A tenth of a second or less, `growth` times that at the end."""
    dice = random.Random(2)
    moments = range(300 * 10, 1800 * 10)
    return [
        Lag(moment / 10, 0.1 * dice.random() * (1 + (growth - 1) * number / len(moments)))
        for number, moment in enumerate(moments)
    ]


def test_steady() -> None:
    """Noise is no growth, and what is not ours may grow."""
    assert broken(steady_samples()) == []


def test_memory_that_grows() -> None:
    """A leak of some twenty bytes a write is found."""
    (text,) = broken(steady_samples(megabytes_an_hour=36))
    assert text.startswith("serve-1: ")
    assert "MB of memory" in text


def test_descriptors_that_are_left_open() -> None:
    """One every two minutes is found."""
    (text,) = broken(steady_samples(descriptors_an_hour=30))
    assert "descriptors" in text


def test_a_log_beyond_its_size() -> None:
    """The log may not be more than what it is trimmed to, nor Redis full."""
    texts = broken(steady_samples(log_megabytes=330))
    assert [text.split(":")[0] for text in texts] == ["Redis", "Redis"]


def test_a_rate_that_was_not_reached() -> None:
    """A load that is less than what was asked for shows nothing."""
    assert broken(steady_samples(rate=400)) == ["400 writes/s of 500"]


def test_lag_that_grows() -> None:
    """p99 of the minutes of the last third is held against that of the first."""
    (text,) = broken(steady_samples(), steady_lags(growth=5))
    assert text.startswith("stream: lag p99")


def test_a_lag_that_grows_in_most_minutes() -> None:
    """Five seconds of one minute are not growth, a second of each minute is."""
    seldom = [lag._replace(seconds=5.0) if 1500 <= lag.sent < 1505 else lag for lag in steady_lags()]
    assert broken(steady_samples(), seldom) == []
    often = [lag._replace(seconds=5.0) if lag.sent >= 1000 and lag.sent % 60 < 1 else lag for lag in steady_lags()]
    assert len(broken(steady_samples(), often)) == 1


def test_tables_have_a_line_for_each() -> None:
    """Each process, Redis, and each minute is shown."""
    shown = table(steady_samples())
    assert [line.split()[0] for line in shown[1:]] == ["serve-1", "mongodb", "redis,", "its", "log,"]
    assert len(lag_table({"stream": steady_lags(), "replica 0": steady_lags()})) == 1 + 25


def test_a_verdict_says_whether_it_is_kept() -> None:
    """In its first word."""
    assert (str(Verdict(True, "a")), str(Verdict(False, "b"))) == ("ok      a", "BROKEN  b")
