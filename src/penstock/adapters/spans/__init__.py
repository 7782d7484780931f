"""Adapters of the spans port."""
