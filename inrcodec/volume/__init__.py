"""The volume: samples on a grid with named axes, and what their values mean.

Invariant of this room: it knows no file and no codec.
"""
