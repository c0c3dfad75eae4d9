"""The paper's coder of the low-res volume: one SIREN a tile, its quantised weights are the file."""
