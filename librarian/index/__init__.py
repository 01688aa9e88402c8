"""Nearest vectors: base.py says what an index is, one file a provider."""
