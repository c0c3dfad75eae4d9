"""The compiled kernels of the lattice coder, and what loads them."""
