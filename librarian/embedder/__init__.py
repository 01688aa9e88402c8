"""Texts to vectors: base.py says what an embedder is, one file a provider."""
