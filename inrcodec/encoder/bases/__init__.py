"""Coders of the low-res volume as the encoder sees them: one module each, found through `table`."""
