"""The history of a model's rows: every state that was saved, when and by whom. django-simple-history writes it."""

from __future__ import annotations

from typing import Any

from django.db import models
from simple_history.models import HistoricalRecords


def keep_history(*, without: tuple[str, ...] = ()) -> HistoricalRecords:
    """For a model's attribute `history`. Fields in `without` are in no history: what is secret, and what changes by itself.

    The user is kept by name, as one that is deleted later has done it all the same; no name: a command, or this service.
    What a queryset does (`update`, `bulk_create`) is not recorded.
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
