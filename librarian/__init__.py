"""Codebase intelligence: git repositories in, chunks, embeddings and an index, answers with sources out."""
