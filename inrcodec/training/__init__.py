"""Training of models on a user's own volumes: of super-resolution here, of latents in `latent`.

    volumes → dataset (+ fits, degrade) → patches → trainer → evaluate, log → card

In: volumes that the encoder reads.  Out: a model's weights and card, which encoder and decoder find by ID.
Invariant: nothing that encodes or decodes imports this package.
"""
