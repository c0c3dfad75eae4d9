"""Coders of the low-res volume."""
