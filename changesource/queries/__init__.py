"""Named queries: what an app may read, written in Python.

What the `queries.py` of a Django app needs is imported from here. `registry` knows the functions, `builder` is what they
build queries with, `restriction` puts the rules of the tables into a query, `transform` answers a request of zero-cache, and
`evaluation` finds in rows what zero-cache would find. All of it is pure: what a client's replica can run is given to it.
"""

from changesource.queries.builder import Expressions, Query, Tables
from changesource.queries.errors import ApplicationError, InvalidQuery
from changesource.queries.registry import Caller, query

__all__ = ["ApplicationError", "Caller", "Expressions", "InvalidQuery", "Query", "Tables", "query"]
