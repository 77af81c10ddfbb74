"""Fuzzing with atheris: `make fuzz`, and the replay of all inputs that are kept, which is an ordinary test.

`targets/` says for a few bytes what must hold, `seeds/` what to begin with, `findings/` what once went wrong.
"""
