"""Entropy coding: integers and masks to bytes and back.

Invariant: every implementation of a coder gives equal bytes on every machine.
"""
