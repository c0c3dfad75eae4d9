"""Fuzzing: hostile files, and what may come of them.

In: real files.  Out: findings.
Invariant: an input ends in a result or in an error of the package, and in nothing else (`oracle`).
"""
