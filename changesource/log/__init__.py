"""The change log: a cache of the oplog, already rendered, in Redis or in memory."""
