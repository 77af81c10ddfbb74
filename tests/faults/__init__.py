"""Faults on purpose: at every step between reading and confirming."""
