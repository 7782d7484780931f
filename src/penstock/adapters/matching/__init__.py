"""Arithmetic over matrices of token vectors."""
