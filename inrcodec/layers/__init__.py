"""What a file is a stack of: each layer's coder and decoder, side by side.

Invariant: what a layer gives for a box does not depend on what else was read.
"""
