"""The history of a model's rows: every state that was saved, with the time and the user.
django-simple-history writes it."""

from __future__ import annotations

from typing import Any

from django.db import models
from simple_history.models import HistoricalRecords


def keep_history(*, without: tuple[str, ...] = ()) -> HistoricalRecords:
    """The value of a model's attribute `history`. Fields in `without` are left out: secrets, and
    what changes by itself.

    The user is stored by name, so that the history outlives the user; an empty name means a
    command, or this service. Changes by a queryset (`update`, `bulk_create`) are not recorded.
    """
    return HistoricalRecords(
        excluded_fields=list(without),
        history_user_id_field=models.CharField("user", max_length=150, blank=True, default=""),
        history_user_getter=_name_of_user,
        history_user_setter=_set_user,
    )


def _name_of_user(record: Any) -> str:
    return str(record.history_user_id)


def _set_user(record: Any, user: Any) -> None:
    record.history_user_id = user.get_username() if user is not None else ""
