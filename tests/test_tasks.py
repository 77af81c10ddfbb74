"""changesource/tasks.py"""

import asyncio

from changesource.tasks import end_tasks


async def stubborn(swallowed: int) -> None:
    """Goes on after the first cancellations, as drivers do now and then."""
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
    """One cancellation can get lost; the next is not long in coming."""
    tasks = [asyncio.create_task(stubborn(swallowed)) for swallowed in (0, 1, 2)]
    await asyncio.sleep(0)
    await end_tasks(*tasks)
    assert all(task.cancelled() for task in tasks)


async def test_what_a_task_raised_is_its_own_affair() -> None:
    """Tasks that have ended already, well or badly, are none to wait for."""
    tasks = [asyncio.create_task(failing()), asyncio.create_task(asyncio.sleep(0))]
    await asyncio.wait(tasks)
    await end_tasks(*tasks)


async def test_no_tasks_have_ended() -> None:
    """Nothing to do."""
    await end_tasks()
