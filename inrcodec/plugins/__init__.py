"""Adapters to other projects, one a module.

Invariant: each is thin, its project is an extra, and nothing below this room imports it.
"""
