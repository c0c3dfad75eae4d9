"""Training of super-resolution networks: volumes become material, material patches, patches a network.

    volumes > material > patches > trainer > held_out > card

``inrv-train`` is this from the command line.
"""
