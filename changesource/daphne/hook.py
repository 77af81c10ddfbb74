"""Puts our server in the place of Daphne's own, in a process that Daphne was started in."""

from __future__ import annotations

import sys
from typing import Any

from changesource.daphne.private_names import check_private_names


def take_over_daphne() -> None:
    """Every server that Daphne makes from now on is a `StreamServer`. Nothing happens in a process without Daphne, and again
    changes nothing.

    Daphne's command and `runserver` have their server class already when they import the application, but make the server
    with it only then. So it is not the class that is replaced, but how its objects are made: `Server.__new__`. A subclass of
    somebody's own stays one, with what is ours in front of it.
    """
    if "daphne.server" not in sys.modules:
        return
    check_private_names()
    from daphne.server import Server

    from changesource.daphne.server import StreamServer

    def new(cls: type[Server], *args: Any, **kwargs: Any) -> Server:
        ours = cls if issubclass(cls, StreamServer) else type(cls.__name__, (StreamServer, cls), {})
        return object.__new__(ours)

    Server.__new__ = new
