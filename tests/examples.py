"""How many examples the tests of properties try: all of them in `make test`, a tenth of them in `make test-fast`."""

import os

import hypothesis

IS_FAST = os.environ.get("TEST_FAST") == "1"
USUAL = hypothesis.settings().max_examples

hypothesis.settings.register_profile("fast", max_examples=max(1, USUAL // 10))


def examples(count: int) -> int:
    """`count`, or a tenth of it in the fast lane."""
    return max(1, count // 10) if IS_FAST else count


def load_profile() -> None:
    """For tests that do not say how many examples they try."""
    if IS_FAST:
        hypothesis.settings.load_profile("fast")
