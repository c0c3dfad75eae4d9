"""Entropy coding: integers and masks to bytes and back.

The law of this room: every implementation of a coder gives equal bytes on every machine.
"""
