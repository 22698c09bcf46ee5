"""The version of this package, on its own so that any module may import it."""

__version__ = "0.1.0"
