"""Adapters of the parsers port."""
