"""How many examples the tests of properties try: all of them in `make test`, a tenth of them in `make test-fast`."""

import os

from hypothesis import HealthCheck, settings

IS_FAST = os.environ.get("TEST_FAST") == "1"
USUAL = 100
"""Of tests that do not say how many examples they try."""


def examples(count: int) -> int:
    """`count`, or a tenth of it in the fast lane."""
    return max(1, count // 10) if IS_FAST else count


def load_profile() -> None:
    """No test fails because the machine is busy: how long an example takes is not what these tests are about."""
    settings.register_profile(
        "busy machines", max_examples=examples(USUAL), deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("busy machines")
