"""Measurements against bare PyMongo, in one run and on the same documents: `make bench`."""
