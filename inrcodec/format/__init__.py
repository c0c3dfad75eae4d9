"""The `.inrv` file: bytes to typed sections and back.

The law of this room: NumPy, MessagePack and zlib only; every size is checked before anything is allocated.
"""
