"""stub on my side until the helper's lands"""

from changesource.queries.registry import Caller


async def caller_of(request, settings):  # type: ignore
    return Caller()
