"""Plain data to text, PNG and HTML.

The law of this room: it computes nothing about a codec.
"""
