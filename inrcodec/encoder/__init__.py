"""From a volume to a file: decides, fits, measures.

    facts > plan > fit > layers > measure

The law of this room: nothing here is needed to read a file.
"""
