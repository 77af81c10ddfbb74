"""How the Django database is emptied after a test that commits.

Django's way is `manage.py flush`, which then sends `post_migrate`: content types, permissions and groups are worked out
again, in some 20 ms, after hundreds of tests. They are the same each time, so their rows are kept here.
"""

from typing import Any

from django.core.management.color import no_style
from django.core.management.sql import sql_flush
from django.db import connection, transaction
from django.test import TransactionTestCase

TABLES = ("django_content_type", "auth_permission", "auth_group", "auth_group_permissions")
"""What `post_migrate` fills: `create_contenttypes`, `create_permissions` and `create_groups`."""


class Emptying:
    """Knows the rows that are there after the migrations."""

    def __init__(self) -> None:
        self._flush = sql_flush(no_style(), connection, allow_cascade=False)
        self._rows = [(table, *rows_of(table)) for table in TABLES]

    def __call__(self, _: TransactionTestCase) -> None:
        """Empties all tables, and fills those of `TABLES`."""
        with transaction.atomic():
            connection.ops.execute_sql_flush(self._flush)
            with connection.cursor() as cursor:
                for table, columns, rows in self._rows:
                    names = ", ".join(f'"{column}"' for column in columns)
                    places = ", ".join(["%s"] * len(columns))
                    cursor.executemany(f'INSERT INTO "{table}" ({names}) VALUES ({places})', rows)  # noqa: S608


def rows_of(table: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Columns and rows."""
    with connection.cursor() as cursor:
        cursor.execute(f'SELECT * FROM "{table}"')  # noqa: S608
        return [column[0] for column in cursor.description], cursor.fetchall()
