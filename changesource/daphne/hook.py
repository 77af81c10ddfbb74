"""Replaces Daphne's server with ours, in a process in which Daphne was started."""

from __future__ import annotations

import sys
from typing import Any

from changesource.daphne.private_names import check_private_names


def take_over_daphne() -> None:
    """Every server that Daphne creates from now on is a `StreamServer`. This does nothing in a
    process without Daphne, and a second call changes nothing.

    When Daphne's command and `runserver` import the application, they have their server class
    already, but have not created the server yet. So this replaces not the class but how its
    instances are created: `Server.__new__`. A custom subclass stays a subclass, with ours in front
    of it.
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
