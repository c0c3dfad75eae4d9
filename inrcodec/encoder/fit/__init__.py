"""The fit of all tiles' SIRENs to the low-res volume, rate against distortion."""
