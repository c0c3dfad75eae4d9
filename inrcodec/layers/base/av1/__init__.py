"""AV1 as a coder of the low-res volume: its slices are the frames of a monochrome video of 10 bits."""
