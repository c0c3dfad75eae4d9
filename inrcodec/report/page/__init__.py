"""One page about one file: what is in it, what it looks like, and how far it is from its source.

In: a file, and its source where there is one.  Out: HTML that needs nothing else, no network either.
The one law: what is shown is what the decoder gives; where pixels or slices are left out, the page says so.
"""

from inrcodec.report.page.build import build

__all__ = ["build"]
