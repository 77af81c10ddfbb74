"""The change log: a cache of the oplog, rendered. Redis Streams, or the process's memory, one contract."""
