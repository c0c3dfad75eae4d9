"""The refinement: the volume itself on a hierarchical lattice, within a bound of error down to lossless."""
