"""Another seed for every fit: ``INRCODEC_TEST_SEED`` is added to the seeds that tests give.

No test may rest on what a fit with one seed happens to reach: `tests/matrix.sh` runs them all with another.
"""

import os

SHIFT = int(os.environ.get("INRCODEC_TEST_SEED", "0"))

if SHIFT:
    from inrcodec.encoder.fit import loop

    plain = loop.FitSettings.__init__

    def shifted(self, **fields):
        plain(self, **fields)
        object.__setattr__(self, "seed", self.seed + SHIFT)

    loop.FitSettings.__init__ = shifted
