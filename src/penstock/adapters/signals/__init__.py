"""Adapters of the signals port."""
