"""Plain data to text, PNG and HTML.

Invariant of this room: it computes nothing about a codec.
"""
