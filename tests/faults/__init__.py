"""Faults on purpose: of processes, servers, connections, and at every step between them."""
