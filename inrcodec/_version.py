"""The package's version; the format has one of its own (`format.container`)."""

__version__ = "0.1.0"
