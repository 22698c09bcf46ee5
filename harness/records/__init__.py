"""Sealed run records: what is written, how it is sealed, how it is read back as tables."""
