"""Fuzzing with atheris: `make fuzz`, and a replay of all kept inputs, which is an ordinary test.

`targets/` says what must hold for a few bytes, `seeds/` holds inputs to begin with, and `findings/` inputs that once failed.
"""
