"""Named queries: what an app may read, written in Python.

`registry` knows the functions, `builder` is what they build queries with, `restriction` puts the rules of the tables into a
query, and `transform` answers a request of zero-cache. All of it is pure: what a client's replica can run is given to it.
"""
