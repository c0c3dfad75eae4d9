"""Training of latent models, coders of the low-res volume."""
