"""Training of latent models, coders of the low-res volume.

    volumes → materials → crops → trainer (network, grids) → log, evaluate → freeze (tables) → card

In: volumes that the encoder reads.  Out: a model's integers and card, and its float weights if wanted.
Invariant: nothing that encodes or decodes imports this package.
"""
