"""The fixtures of the simulation, for the tests in this folder."""

from tests.simulation.fixtures import any_source, app, database, redis_logs, source, start

__all__ = ["any_source", "app", "database", "redis_logs", "source", "start"]
