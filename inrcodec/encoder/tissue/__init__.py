"""Flat tissue that can be trusted: what is aimed at where no target is given, and how a file comes to it."""
