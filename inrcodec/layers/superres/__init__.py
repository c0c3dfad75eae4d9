"""Super-resolution: the networks that bring full resolution back, and their weights."""
