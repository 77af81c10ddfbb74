"""changesource/tasks.py"""

import asyncio

from changesource.tasks import end_tasks


async def stubborn(swallowed: int) -> None:
    """Continues after the first cancellations, as drivers do now and then."""
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if swallowed == 0:
                raise
            swallowed -= 1


async def failing() -> None:
    raise RuntimeError


async def test_tasks_that_swallow_cancellations_end_all_the_same() -> None:
    """A cancellation can get lost; the next one follows soon."""
    tasks = [asyncio.create_task(stubborn(swallowed)) for swallowed in (0, 1, 2)]
    await asyncio.sleep(0)
    await end_tasks(*tasks)
    assert all(task.cancelled() for task in tasks)


async def test_the_errors_of_ended_tasks_are_ignored() -> None:
    """Tasks that have already ended, well or badly, need no waiting."""
    tasks = [asyncio.create_task(failing()), asyncio.create_task(asyncio.sleep(0))]
    await asyncio.wait(tasks)
    await end_tasks(*tasks)


async def test_without_tasks_there_is_nothing_to_wait_for() -> None:
    """It returns at once."""
    await end_tasks()
