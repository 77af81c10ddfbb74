"""A second implementation, in memory, of what surrounds this project: a source that changes at any
moment, the stream of its changes, and zero-caches with their replicas.

Tests run the product's own code between these ends, in orders of events that no real server gives
on demand, and compare the replica with what a fresh snapshot would be. README.md says what each
module plays, where its semantics come from, and what it leaves out.
"""
