"""Coders of the low-res volume, each in a room of its own, found through one table (`coders`)."""
