"""A grid of latents under shared networks as a coder of the low-res volume."""
