"""Adapters of the traces port."""
