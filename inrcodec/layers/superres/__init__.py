"""Super-resolution: networks that restore the full resolution, and their weights."""
