"""The `.inrv` file: bytes to typed sections and back.

Invariant: NumPy, MessagePack and zlib only; every size is checked before anything is allocated.
"""
